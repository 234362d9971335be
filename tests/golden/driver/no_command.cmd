# run: netc

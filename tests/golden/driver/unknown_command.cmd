# run: netc tran
# run: netc frobnicate
# run: netc help tran

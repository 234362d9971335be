# run: netc --help
# run: netc help
# run: netc --version

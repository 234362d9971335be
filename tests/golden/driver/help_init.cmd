# run: netc init --help
# run: netc help init >/dev/null

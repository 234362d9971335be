# run: netc why --help
# run: netc help why >/dev/null

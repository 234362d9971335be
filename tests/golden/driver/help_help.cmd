# run: netc help --help
# run: netc help help >/dev/null

# run: netc data --help
# run: netc help data >/dev/null

# run: netc bench --help
# run: netc help bench >/dev/null

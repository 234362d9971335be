# run: netc eval --help
# run: netc help eval >/dev/null

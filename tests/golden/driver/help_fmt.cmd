# run: netc fmt --help
# run: netc help fmt >/dev/null

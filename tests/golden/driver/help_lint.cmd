# run: netc lint --help
# run: netc help lint >/dev/null

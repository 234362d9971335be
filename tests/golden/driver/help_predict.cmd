# run: netc predict --help
# run: netc help predict >/dev/null

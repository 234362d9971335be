# run: netc ablate --help
# run: netc help ablate >/dev/null

# run: netc train --help
# run: netc help train >/dev/null

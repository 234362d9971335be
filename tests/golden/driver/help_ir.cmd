# run: netc ir --help
# run: netc help ir >/dev/null

# run: netc train
# run: netc train nowhere.net
# run: netc train resnet21
# run: netc train a/b
# run: netc ir .
# run: netc bench
# run: netc train a b

# run: netc train
# run: netc train nowhere.net
# run: netc train resnet21
# run: netc train a/b
# run: netc ir .
# run: netc bench
# run: netc train a b
# run: netc init a b -o c
# run: netc bench a --peer=torch
# run: netc bench a --compare=python3 --convolutions
# run: netc train a --rechoose
# run: netc train a --repass
# run: netc data list b

# run: netc train tiny.net -q --set train.data=cifar10 2>&1 | sed "s:$HOME:~:"
# run: netc eval tiny.net --weights=nowhere.safetensors
# run: netc predict tiny.net --weights=nowhere.safetensors a.png
# run: netc train tiny.net -q --data=/nonexistent

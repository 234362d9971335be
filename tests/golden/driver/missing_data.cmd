# run: netc train tiny.net --set train.data=cifar10
# run: netc eval tiny.net --weights=nowhere.safetensors
# run: netc predict tiny.net --weights=nowhere.safetensors a.png
# run: netc train tiny.net --data=/nonexistent

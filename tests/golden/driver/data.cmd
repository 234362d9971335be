# run: netc data path | sed "s:$HOME:~:"
# run: netc data path cifar10 | sed "s:$HOME:~:"
# run: netc data list | sed "s:$HOME:~:"
# run: netc data check /nonexistent
# run: netc data check cifar10 2>&1 | sed "s:$HOME:~:"
# run: netc data export cifar10 --to=x 2>&1 | sed "s:$HOME:~:"

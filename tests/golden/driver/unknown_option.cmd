# run: netc train x --thread=2
# run: netc train x --frobnicate
# run: netc train x -z
# run: netc eval x --resume
# run: netc train x --

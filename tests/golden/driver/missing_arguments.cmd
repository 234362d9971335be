# run: netc eval resnet20
# run: netc predict resnet20 --weights x
# run: netc predict resnet20
# run: netc init resnet20
# run: netc fmt
# run: netc data
# run: netc data get
# run: netc data get mnist
# run: netc data get cifar1
# run: netc data gte
# run: netc data export cifar10
# run: netc help a b
# run: netc train x --resume --init y
# run: netc bench x --repeats=0
# run: netc ir tiny.net --stage=autodiff --mode=infer

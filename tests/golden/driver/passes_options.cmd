# run: netc ir tiny.net --passes=nothing
# run: netc ir tiny.net --stage=final --disable-pass=lower
# run: netc ir tiny.net --stage=final --disable-pass=nothing
# run: netc ir tiny.net --stage=final --load-pass=./nothing.so
# run: netc train tiny.net --data=synthetic --cpu=pentium9

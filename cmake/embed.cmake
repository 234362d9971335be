# cmake -DIN=FILE -DOUT=FILE.c -DNAME=symbol -P embed.cmake: a text as a string that C code can read.
file(READ "${IN}" bytes HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "(................................................................................)" "\\1\n    " bytes "${bytes}")
file(WRITE "${OUT}" "extern const char ${NAME}[];\nconst char ${NAME}[] = {\n    ${bytes}0};\n")

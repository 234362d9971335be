# cmake -DSOURCE=... -DOUTPUT=... -P plugin_version.cmake: writes NETC_PLUGIN_VERSION, a hash of all headers that pass plug-ins may include
# (plugin_headers.cmake). So a plug-in that was built against other headers is refused, and nobody has to remember to raise a number.
cmake_policy(VERSION 3.25)
include(${CMAKE_CURRENT_LIST_DIR}/plugin_headers.cmake)
plugin_headers(${SOURCE} headers)
set(text)
foreach(file ${headers})
  file(SHA256 ${SOURCE}/${file} sum)
  string(APPEND text "${file} ${sum}\n")
endforeach()
string(SHA256 sum "${text}")
string(SUBSTRING ${sum} 0 8 version)
file(WRITE ${OUTPUT}.new "/* Made by cmake/plugin_version.cmake. */\n#define NETC_PLUGIN_VERSION 0x${version}u\n")
file(COPY_FILE ${OUTPUT}.new ${OUTPUT} ONLY_IF_DIFFERENT) # what includes it is compiled again only if it must be

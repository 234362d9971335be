/* A plugin of another version of netc. */
#include "passes/plugin.h"

const NetcPlugin netc_plugin = {.version = NETC_PLUGIN_VERSION + 1};

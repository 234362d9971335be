/* The parts of netc bench that have files of their own. */
#ifndef NETC_DRIVER_BENCH_H
#define NETC_DRIVER_BENCH_H
#include "driver/session.h"

/* --compare and --convolutions, from a session whose model is found. Exit statuses. */
int bench_compare(Session *session);
int bench_convolutions(Session *session, bool train, bool infer);
#endif

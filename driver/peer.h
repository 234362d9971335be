/* A peer: a process that runs the same net in another framework and times itself on request (bench/peer.py has the conversation).
 *
 * Every failure is printed where it is found and comes back as an exit status. */
#ifndef NETC_DRIVER_PEER_H
#define NETC_DRIVER_PEER_H
#include "driver/session.h"
#include <sys/types.h>

enum { PEER_LINE = 512 };

typedef struct Peer {
    const char *name; /* borrowed: what --peer said */
    pid_t process;    /* 0: not started */
    FILE *to, *from;
} Peer;

/* The script of a peer: torch, jax, tf, onnxruntime (installed beside netc, or in its sources), or the path of one. malloc'd. */
int peer_script(const char *name, char **script);
/* Starts `interpreter script arguments...`; `arguments` ends with NULL. */
int peer_start(Peer *peer, const char *name, const char *interpreter, const char *script, char *const arguments[]);
/* The next line the peer says, which must begin with `word`; *rest is what follows it, in `line`. */
int peer_hear(Peer *peer, const char *word, char line[PEER_LINE], char **rest);
/* Closes the conversation and waits for the process to end. Does nothing if none is running. */
void peer_stop(Peer *peer);
#endif

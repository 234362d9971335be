/* posix_spawn with two pipes. A peer that has ended is noticed by the end of its answers; SIGPIPE is ignored for as long as one
 * is talked to, since a peer that fails early does not read its graph. */
#include "driver/peer.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int peer_script(const char *name, char **script) {
    static const char *const names[] = {"torch", "jax", "tf", "onnxruntime"};
    *script = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        char *file = join("%s_peer.py", name);
        *script = session_shipped_file("bench", file);
        if (!*script) fail(EXIT_INPUT, "the peer's script '%s' is neither installed with netc nor in its source tree", file);
        free(file);
        return *script ? EXIT_OK : EXIT_INPUT;
    }
    if (!strchr(name, '/') && !strchr(name, '.'))
        return usage_error("bench", "there is no peer '%s': torch, jax, tf, onnxruntime, or the path of a script", name);
    if (access(name, R_OK)) return fail(EXIT_INPUT, "cannot open the peer's script '%s': %s", name, strerror(errno));
    *script = join("%s", name);
    return EXIT_OK;
}

static int spawn(Peer *peer, char *const argv[], int input, int output) {
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions)) return ENOMEM;
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    fflush(stdout);
    int error = posix_spawnp(&peer->process, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error) peer->process = 0;
    return error;
}

int peer_start(Peer *peer, const char *name, const char *interpreter, const char *script, char *const arguments[]) {
    enum { MAX_ARGUMENTS = 8 };
    char *argv[MAX_ARGUMENTS + 3] = {(char *)(uintptr_t)interpreter, (char *)(uintptr_t)script};
    int to[2], from[2];
    *peer = (Peer){.name = name};
    for (int i = 0; i < MAX_ARGUMENTS && arguments[i]; i++) argv[i + 2] = arguments[i];
    if (pipe2(to, O_CLOEXEC)) return fail(EXIT_IO, "cannot make a pipe: %s", strerror(errno));
    if (pipe2(from, O_CLOEXEC)) {
        close(to[0]), close(to[1]);
        return fail(EXIT_IO, "cannot make a pipe: %s", strerror(errno));
    }
    signal(SIGPIPE, SIG_IGN);
    int error = spawn(peer, argv, to[0], from[1]);
    close(to[0]);
    close(from[1]);
    peer->to = fdopen(to[1], "w");
    peer->from = fdopen(from[0], "r");
    if (error || !peer->to || !peer->from) {
        peer_stop(peer);
        return fail(EXIT_INPUT, "cannot run the interpreter '%s': %s", interpreter, strerror(error ? error : errno));
    }
    return EXIT_OK;
}

int peer_hear(Peer *peer, const char *word, char line[PEER_LINE], char **rest) {
    size_t length = strlen(word);
    fflush(peer->to);
    if (!fgets(line, PEER_LINE, peer->from)) return fail(EXIT_INPUT, "the peer '%s' ended without an answer", peer->name);
    line[strcspn(line, "\n")] = 0;
    if (!strncmp(line, "error ", 6)) return fail(EXIT_INPUT, "the peer '%s' says: %s", peer->name, line + 6);
    if (strncmp(line, word, length) != 0 || line[length] != ' ')
        return fail(EXIT_INPUT, "the peer '%s' was to answer '%s', but said: %s", peer->name, word, line);
    *rest = line + length + 1;
    return EXIT_OK;
}

void peer_stop(Peer *peer) {
    if (peer->to) fclose(peer->to);
    if (peer->from) fclose(peer->from);
    while (peer->process && waitpid(peer->process, NULL, 0) < 0 && errno == EINTR) {
    }
    signal(SIGPIPE, SIG_DFL);
    *peer = (Peer){0};
}

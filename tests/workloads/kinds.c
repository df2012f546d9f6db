/* kinds FOLDER FILE: counts with everything at once that processes hold beside memory of their own, and looks at each step whether all of it
 * is as the last step left it. A line in FOLDER/state says how it goes: a word made up at the beginning, true or false, the count.
 *
 * A child that shares memory with it, two pipes, an eventfd, a signalfd with a signal that is pending, a file of /dev/shm that is mapped, an
 * open file without a name, and FILE, which lies in a lower layer, mapped.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t took(int from) {
    uint64_t value;
    if (read(from, &value, sizeof value) != sizeof value) die("read");
    return value;
}

static void give(int to, uint64_t value) {
    if (write(to, &value, sizeof value) != sizeof value) die("write");
}

static uint64_t *shared(int file) {
    int flags = file < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
    uint64_t *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, file, 0);
    if (memory == MAP_FAILED) die("mmap");
    return memory;
}

static uint64_t sum(const unsigned char *bytes, off_t count) {
    uint64_t sum = 0;
    for (off_t at = 0; at < count; at++) sum = sum * 31 + bytes[at];
    return sum;
}

static void say(const char *word, int is_whole, uint64_t count) {
    FILE *file = fopen("state.new", "w");
    if (!file) die("state.new");
    fprintf(file, "%s %s %llu\n", word, is_whole ? "true" : "false", (unsigned long long)count);
    fclose(file);
    if (rename("state.new", "state")) die("rename");
}

/* The child answers each number with the same, once it has put it into the memory that both have. */
static void answer(int from, int to, volatile uint64_t *both) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        uint64_t k = took(from);
        both[1] = k;
        give(to, k);
    }
}

int main(int count, char **arguments) {
    if (count < 3 || chdir(arguments[1])) die("chdir");
    int there[2], back[2];
    volatile uint64_t *both = shared(-1);
    if (pipe(there) || pipe(back)) die("pipe");
    pid_t child = fork();
    if (child == 0) answer(there[0], back[1], both);

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    if (child < 0 || sigprocmask(SIG_BLOCK, &signals, NULL)) die("begin");
    int told = signalfd(-1, &signals, 0), events = eventfd(0, 0);
    int shm = open("/dev/shm/kinds", O_RDWR | O_CREAT, 0600), nameless = open("nameless", O_RDWR | O_CREAT, 0600);
    int lower = open(arguments[2], O_RDONLY);
    struct stat file;
    if (told < 0 || events < 0 || shm < 0 || nameless < 0 || lower < 0 || fstat(lower, &file)) die("open");
    if (ftruncate(shm, 4096) || unlink("nameless")) die("unlink");
    volatile uint64_t *of_shm = shared(shm);
    const unsigned char *mapped = mmap(NULL, file.st_size, PROT_READ, MAP_PRIVATE, lower, 0);
    if (mapped == MAP_FAILED) die("mmap");
    uint64_t expected = sum(mapped, file.st_size);

    char word[17];
    snprintf(word, sizeof word, "%08lx%08lx", (unsigned long)time(NULL), (unsigned long)(uintptr_t)both >> 12 & 0xffffffff);
    struct timespec step = {0, 20000000};
    for (uint64_t k = 1;; k++) {
        /* Everything lies here while it sleeps. */
        give(there[1], k);
        give(events, k);
        give(nameless, k);
        both[0] = *of_shm = k;
        union sigval value = {.sival_int = (int)k};
        if (sigqueue(getpid(), SIGUSR1, value)) die("sigqueue");
        nanosleep(&step, NULL);
        struct signalfd_siginfo signal;
        uint64_t written;
        if (read(told, &signal, sizeof signal) != sizeof signal) die("signalfd");
        if (pread(nameless, &written, sizeof written, (off_t)(k - 1) * 8) != sizeof written) die("pread");
        int is_whole = took(back[0]) == k && took(events) == k && written == k && both[0] == k && both[1] == k && *of_shm == k &&
                       signal.ssi_int == (int)k && sum(mapped, file.st_size) == expected;
        say(word, is_whole, k);
        if (!is_whole) exit(2);
    }
}

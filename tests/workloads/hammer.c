/* hammer FOLDER: changes files in FOLDER for ever, one operation after another, in a fixed order.
 *
 * Operation k (0, 1, 2, ...) works on target k % TARGETS and leaves k's mark there, in one system call or store that
 * decides it. So what is in the folder at any instant tells which operations were done, and two instants mixed
 * together show. tests/src/hammer.rs reads it back; the two must agree.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KINDS = 7, EACH = 9, TARGETS = KINDS * EACH, ROUND = 64, BLOCK = 4096, BLOCKS = 64, PAGES = 16 };
enum { LOG, RENAMED, MAPPED, LENGTH, OVERWRITTEN, PRESENCE, MOVED };

static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static char *name(char *buffer, const char *prefix, int index) {
    snprintf(buffer, 64, "%s%d", prefix, index);
    return buffer;
}

static void append_log(int index, uint64_t k, uint64_t turn) {
    char path[64];
    int file = open(name(path, "log", index), O_WRONLY | O_CREAT | O_APPEND, 0644);
    uint64_t record[4] = {k, mix(k), mix(k + 1), mix(k + 2)};
    if (file < 0) die(path);
    if (turn % ROUND == 0) {
        if (ftruncate(file, 0)) die("truncate");
    } else if (write(file, record, sizeof record) != sizeof record) {
        die("append");
    }
    close(file);
}

static void rename_over(int index, uint64_t k) {
    static uint64_t words[32768];
    char path[64], draft[64];
    size_t count = 8 + mix(k) % 25000;
    int file = open(name(draft, "draft", index), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0) die(draft);
    words[0] = k;
    words[1] = count;
    for (size_t i = 2; i < count; i++) words[i] = mix(k + i);
    if (write(file, words, count * 8) != (ssize_t)(count * 8)) die("write");
    close(file);
    if (rename(draft, name(path, "renamed", index))) die("rename");
}

static void store_mapped(int index, uint64_t k) {
    static volatile uint64_t *maps[EACH];
    char path[64];
    if (!maps[index]) {
        int file = open(name(path, "mapped", index), O_RDWR | O_CREAT, 0644);
        if (file < 0 || ftruncate(file, PAGES * BLOCK)) die(path);
        void *map = mmap(NULL, PAGES * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (map == MAP_FAILED) die("mmap");
        maps[index] = map;
    }
    maps[index][0] = k;
    maps[index][(PAGES - 1) * BLOCK / 8 + 5] = k;
}

static void set_length(int index, uint64_t k) {
    char path[64];
    int file = open(name(path, "length", index), O_WRONLY | O_CREAT, 0644);
    if (file < 0 || ftruncate(file, 1 + k % 65521)) die(path);
    close(file);
}

static void overwrite(int index, uint64_t k, uint64_t turn) {
    char path[64];
    uint64_t block[BLOCK / 8];
    int file = open(name(path, "overwritten", index), O_WRONLY | O_CREAT, 0644);
    for (int i = 0; i < BLOCK / 8; i++) block[i] = k;
    if (file < 0 || pwrite(file, block, BLOCK, (turn % BLOCKS) * BLOCK) != BLOCK) die(path);
    close(file);
}

static void come_and_go(int index, uint64_t turn) {
    char path[64];
    name(path, "presence", index);
    if (turn % 2 == 0) {
        int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (file < 0) die(path);
        close(file);
    } else if (unlink(path)) {
        die(path);
    }
}

static void move(int index, uint64_t turn) {
    char left[64], right[64];
    name(left, "left/moved", index);
    name(right, "right/moved", index);
    if (turn == 0) {
        int file = open(left, O_WRONLY | O_CREAT, 0644);
        if (file < 0) die(left);
        close(file);
    } else if (rename(turn % 2 ? left : right, turn % 2 ? right : left)) {
        die("move");
    }
}

static void operate(uint64_t k) {
    int target = k % TARGETS, index = target / KINDS;
    uint64_t turn = k / TARGETS;
    switch (target % KINDS) {
    case LOG: append_log(index, k, turn); break;
    case RENAMED: rename_over(index, k); break;
    case MAPPED: store_mapped(index, k); break;
    case LENGTH: set_length(index, k); break;
    case OVERWRITTEN: overwrite(index, k, turn); break;
    case PRESENCE: come_and_go(index, turn); break;
    case MOVED: move(index, turn); break;
    }
}

int main(int count, char **arguments) {
    if (count != 2 || chdir(arguments[1])) die("usage: hammer FOLDER");
    if (mkdir("left", 0755) || mkdir("right", 0755)) die("mkdir");
    for (uint64_t k = 0;; k++) {
        operate(k);
        /* Said when every target has been there once; and now and then a breath, so that the pause can meet any step. */
        if (k == TARGETS) close(open("ready", O_WRONLY | O_CREAT, 0644));
        if (k % 1024 == 0) usleep(mix(k) % 2000);
    }
}

/* witness FOLDER: counts in memory, in a file and in a mapped file at once, and compares them before each step.
 * witness FOLDER linked|ring|large: the same, and holds what CRIU cannot capture: a file by a name that is gone while another is there,
 * an io_uring, a large file that is deleted.
 *
 * A process that goes on from its memory with files of another instant finds them apart: it leaves FOLDER/torn and ends.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Places in memory that all hold the count, a page apart: an image that lacks a page is noticed. */
enum { PAGES = 64, PAGE = 4096 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int made(const char *path) {
    uint64_t zero = 0;
    int file = open(path, O_RDWR | O_CREAT, 0644);
    if (file < 0 || pwrite(file, &zero, sizeof zero, 0) != sizeof zero) die(path);
    return file;
}

static void torn(const char *what, uint64_t memory, uint64_t other) {
    FILE *file = fopen("torn", "w");
    fprintf(file, "%s is %llu, memory %llu\n", what, (unsigned long long)other, (unsigned long long)memory);
    fclose(file);
    exit(2);
}

static void hold(const char *what) {
    if (strcmp(what, "ring") == 0) {
        char parameters[120];
        memset(parameters, 0, sizeof parameters);
        /* io_uring_setup */
        if (syscall(425, 4, parameters) < 0) die("io_uring_setup");
        return;
    }
    int file = open("gone", O_RDWR | O_CREAT, 0644);
    if (file < 0) die("gone");
    if (strcmp(what, "large") == 0 && ftruncate(file, 2 << 20) != 0) die("ftruncate");
    if (strcmp(what, "linked") == 0 && link("gone", "other") != 0) die("link");
    unlink("gone");
}

int main(int count, char **arguments) {
    if (count < 2 || chdir(arguments[1]) != 0) die("chdir");
    if (count > 2) hold(arguments[2]);
    int file = made("file"), mapped_file = made("mapped");
    volatile uint64_t *mapped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, mapped_file, 0);
    if (mapped == MAP_FAILED || ftruncate(mapped_file, PAGE) != 0) die("mmap");
    volatile char *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) die("mmap");
    close(open("ready", O_WRONLY | O_CREAT, 0644));
    struct timespec step = {0, 200000};
    for (uint64_t k = 1;; k++) {
        uint64_t written;
        if (pread(file, &written, sizeof written, 0) != sizeof written) die("pread");
        if (written != k - 1) torn("the file", k - 1, written);
        if (*mapped != k - 1) torn("the mapped file", k - 1, *mapped);
        for (int page = 0; page < PAGES; page++) {
            uint64_t kept = *(volatile uint64_t *)(memory + page * PAGE);
            if (kept != k - 1) torn("a page", k - 1, kept);
            *(volatile uint64_t *)(memory + page * PAGE) = k;
        }
        *mapped = k;
        if (pwrite(file, &k, sizeof k, 0) != sizeof k) die("pwrite");
        nanosleep(&step, NULL);
    }
}

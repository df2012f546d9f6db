/* holder MEGABYTES FILE: has so many megabytes of noise in memory, says so by making FILE, and touches a page of it now and then. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments) {
    if (count < 3) return 2;
    size_t words = (strtoul(arguments[1], NULL, 10) << 20) / sizeof(uint64_t);
    uint64_t *noise = malloc(words * sizeof *noise), number = (uint64_t)time(NULL) << 20 | (uint64_t)getpid();
    if (noise == NULL || words == 0) return 3;
    for (size_t at = 0; at < words; at++) {
        number = number * 6364136223846793005u + 1442695040888963407u;
        noise[at] = number ^ number >> 33;
    }
    close(open(arguments[2], O_WRONLY | O_CREAT, 0644));
    struct timespec step = {0, 10000000};
    for (size_t at = 0;; at = (at + 512) % (words < 1 << 16 ? words : 1 << 16)) {
        noise[at]++;
        nanosleep(&step, NULL);
    }
}

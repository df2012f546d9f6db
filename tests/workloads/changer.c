/* changer MEGABYTES FOLDER: has so many megabytes of noise in memory, and nothing of it changes by itself. Once FOLDER/ask is there it takes
 * it away, writes other noise over as many pages as stand in it, all in a row, and leaves how often it has done so in FOLDER/done.
 *
 * The noise is the same in every run: what of it is stored anew depends on nothing but what was asked for.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / sizeof(uint64_t) };

static uint64_t number = 1;

static void fill(uint64_t *words, size_t count) {
    for (size_t at = 0; at < count; at++) {
        number = number * 6364136223846793005u + 1442695040888963407u;
        words[at] = number ^ number >> 33;
    }
}

static void say(unsigned long times) {
    FILE *file = fopen("done.new", "w");
    if (file == NULL) exit(4);
    fprintf(file, "%lu\n", times);
    fclose(file);
    rename("done.new", "done");
}

int main(int count, char **arguments) {
    if (count < 3 || chdir(arguments[2]) != 0) return 2;
    size_t pages = (strtoul(arguments[1], NULL, 10) << 20) / PAGE, place = 0;
    uint64_t *noise = aligned_alloc(PAGE, pages * PAGE);
    if (noise == NULL || pages == 0) return 3;
    fill(noise, pages * WORDS);
    say(0);
    struct timespec step = {0, 10000000};
    for (unsigned long times = 0;; nanosleep(&step, NULL)) {
        FILE *ask = fopen("ask", "r");
        unsigned long wanted;
        if (ask == NULL) continue;
        if (fscanf(ask, "%lu", &wanted) != 1 || wanted > pages) return 5;
        fclose(ask);
        unlink("ask");
        if (place + wanted > pages) place = 0;
        fill(noise + place * WORDS, wanted * WORDS);
        place += wanted;
        say(++times);
    }
}

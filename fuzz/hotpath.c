/*
 * Calls the compiled functions with hostile octets: fuzz/hotpath.py compiles it with sanitizers.
 *
 *     hotpath EXECUTIONS SEED CORPUS WORDS
 *
 * CORPUS and WORDS are files of entries, each with its length in front as "LENGTH:". Every entry
 * of the corpus is run as it is; then mutations are run until EXECUTIONS is reached. Inputs and
 * outputs are allocated to the octet, so that the address sanitizer reports any access beside
 * them. The first broken promise or sanitizer report ends the process with a status that is not 0.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_hotpath.h"

#define INPUT_MAX 4096
#define ENTRIES_MAX 65536

typedef struct {
    unsigned char *at;
    size_t size;
} entry;

typedef struct {
    entry entries[ENTRIES_MAX];
    size_t count;
} entries;

static entries corpus, words;
static uint64_t state;

static uint64_t number(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static void require(int condition, const char *promise, const unsigned char *input, size_t size)
{
    if (condition)
        return;
    fprintf(stderr, "broken: %s\ninput:", promise);
    for (size_t i = 0; i < size; i++)
        fprintf(stderr, " %02x", input[i]);
    fprintf(stderr, "\n");
    abort();
}

static void *allocate(size_t size)
{
    void *made = malloc(size ? size : 1);

    if (!made)
        exit(3);
    return made;
}

static size_t count_lines(const unsigned char *octets, size_t size)
{
    size_t lines = 0;

    for (size_t i = 0; i < size; i++)
        lines += octets[i] == '\n';
    return lines;
}

/* What was made lies within bounds, and consists of complete lines. */
static void check(const decnet_progress *done, size_t room, const unsigned char *input, size_t size)
{
    require(done->taken <= size, "taken is within the input", input, size);
    require(done->made <= room, "made is within the room", input, size);
    require(!done->lines == !done->made, "no octets without lines", input, size);
    require(!done->lines == !done->taken, "no lines from no octets", input, size);
}

static void try_frames(const unsigned char *input, size_t size, size_t room)
{
    unsigned char *frames = allocate(room), *again = allocate(size);
    decnet_progress done, back;

    decnet_frames_of_lines(input, size, frames, room, &done);
    check(&done, room, input, size);
    require(count_lines(input, done.taken) == done.lines, "frames: lines", input, size);
    decnet_lines_of_frames(frames, done.made, size, again, size, &back);
    require(back.taken == done.made && back.made == done.taken && back.lines == done.lines &&
                memcmp(again, input, done.taken) == 0,
            "lines come back from their frames", input, size);
    free(frames);
    free(again);
}

static void try_lines(const unsigned char *input, size_t size, size_t room, size_t longest)
{
    unsigned char *lines = allocate(room), *again = allocate(2 * size + 64);
    decnet_progress done, back;

    decnet_lines_of_frames(input, size, longest, lines, room, &done);
    check(&done, room, input, size);
    require(done.made <= done.taken, "lines are no longer than frames", input, size);
    require(count_lines(lines, done.made) == done.lines, "lines: lines", input, size);
    decnet_frames_of_lines(lines, done.made, again, 2 * size + 64, &back);
    require(back.taken == done.made && back.made == done.taken &&
                memcmp(again, input, done.taken) == 0,
            "frames come back from their lines", input, size);
    free(lines);
    free(again);
}

/* Returns how many octets the records have. */
static size_t try_records(const unsigned char *input, size_t size, size_t room)
{
    static const char *const workers[] = {"decky04", "decky04.example.org", "w", ""};
    unsigned char *records = allocate(room);
    size_t around = number(40);
    unsigned char *text = allocate(around);
    const char *worker = workers[number(4)];
    decnet_members members = {
        .before = text,
        .before_size = around,
        .after = (const unsigned char *)"}\n",
        .after_size = 2,
        .marked = (const unsigned char *)", 1}\n",
        .marked_size = 5,
        .worker = number(2) ? (const unsigned char *)worker : NULL,
        .worker_size = strlen(worker),
        .has_offset = (int)number(2),
        .offset = number(2) ? number(UINT64_MAX) : number(1000),
    };
    decnet_progress done;

    memset(text, '-', around);
    decnet_records_of_lines(input, size, &members, records, room, &done);
    check(&done, room, input, size);
    require(count_lines(input, done.taken) == done.lines, "records: lines", input, size);
    require(count_lines(records, done.made) == done.lines, "a record for a line", input, size);
    for (size_t i = 0; i < done.made; i++)
        require(records[i] == '\n' || (records[i] >= 0x20 && records[i] < 0x7f),
                "a record is printable", input, size);
    free(text);
    free(records);
    return done.made;
}

static void execute(const unsigned char *octets, size_t size)
{
    unsigned char *input = allocate(size);
    size_t rooms[] = {0, 1, 22, 600, size, size + size / 2 + 32, 8 * size + 1024};
    size_t room = number(3) ? rooms[5 + number(2)] : number(rooms[number(7)] + 1);

    memcpy(input, octets, size);
    try_frames(input, size, room);
    try_lines(input, size, room, number(2) ? number(300) : SIZE_MAX >> number(64));
    /* Then with a little less room than these records need. */
    room = try_records(input, size, room);
    if (room > 0)
        try_records(input, size, room - number(room < 99 ? room : 99));
    free(input);
}

/* Put a word, or some octets, in the place of some others. */
static size_t replace(unsigned char *octets, size_t size, size_t at, size_t length,
                      const unsigned char *with, size_t more)
{
    if (length > size - at)
        length = size - at;
    if (more > INPUT_MAX - (size - length))
        more = INPUT_MAX - (size - length);
    memmove(octets + at + more, octets + at + length, size - at - length);
    memcpy(octets + at, with, more);
    return size - length + more;
}

static size_t mutate(unsigned char *octets)
{
    const entry *first = &corpus.entries[number(corpus.count)];
    size_t size = first->size;

    memcpy(octets, first->at, size);
    for (uint64_t steps = number(6); steps > 0; steps--) {
        const entry *word = &words.entries[number(words.count)];
        const entry *other = &corpus.entries[number(corpus.count)];
        size_t at = (size_t)number(size + 1);
        unsigned char octet = (unsigned char)number(256);
        size_t from = (size_t)number(other->size + 1);

        switch (number(6)) {
        case 0:
            size = replace(octets, size, at, 1, &octet, 1);
            break;
        case 1:
            size = replace(octets, size, at, (size_t)number(3), word->at, word->size);
            break;
        case 2:
            size = replace(octets, size, at, word->size, word->at, word->size);
            break;
        case 3:
            size = replace(octets, size, at, (size_t)number(20), &octet, 0);
            break;
        case 4:
            size = replace(octets, size, at, 0, other->at + from, other->size - from);
            break;
        default:
            octet = (unsigned char)('0' + number(10));
            size = replace(octets, size, at, (size_t)number(2), &octet, 1);
        }
    }
    /* A line that ends anywhere. */
    if (number(4) == 0)
        size = replace(octets, size, number(size + 1), size, (const unsigned char *)"\n", 1);
    return size;
}

static void load(const char *path, entries *into)
{
    FILE *file = fopen(path, "rb");
    size_t size;

    while (file && into->count < ENTRIES_MAX && fscanf(file, "%zu:", &size) == 1) {
        unsigned char *octets = allocate(size);

        if (fread(octets, 1, size, file) != size)
            exit(3);
        into->entries[into->count++] =
            (entry){octets, size > INPUT_MAX ? INPUT_MAX : size};
    }
    if (!into->count) {
        fprintf(stderr, "nothing in %s\n", path);
        exit(3);
    }
    fclose(file);
}

int main(int count, char **arguments)
{
    static unsigned char octets[INPUT_MAX];
    unsigned long long executions, done = 0;

    if (count != 5)
        return 2;
    executions = strtoull(arguments[1], NULL, 10);
    state = strtoull(arguments[2], NULL, 10) * 2654435761u + 88172645463325252u;
    load(arguments[3], &corpus);
    load(arguments[4], &words);
    for (; done < corpus.count; done++)
        execute(corpus.entries[done].at, corpus.entries[done].size);
    for (; done < executions; done++)
        execute(octets, mutate(octets));
    printf("%llu executions, %zu of them the corpus\n", done, corpus.count);
    return 0;
}

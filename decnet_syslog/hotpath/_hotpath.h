#ifndef DECNET_SYSLOG_HOTPATH_H
#define DECNET_SYSLOG_HOTPATH_H

/* Python refuses a module with another number: a function or a structure has changed. */
#define DECNET_HOTPATH_VERSION 1

/* How far a function came. */
typedef struct {
    size_t taken; /* octets of the input, in whole lines or frames */
    size_t made;  /* octets of the output */
    size_t lines; /* lines or frames in them */
} decnet_progress;

/* What is the same in the records of a block, as octets of JSON. */
typedef struct {
    const unsigned char *before, *after; /* from the end of raw_line to the offset; behind it */
    size_t before_size, after_size;
    const unsigned char *marked; /* instead of after, if the HOSTNAME is another machine's */
    size_t marked_size;
    const unsigned char *worker; /* its name in lower case; NULL: no HOSTNAME is marked */
    size_t worker_size;
    int has_offset;            /* whether the block has a place in a worker's file, */
    unsigned long long offset; /* and which */
} decnet_members;

void decnet_frames_of_lines(const unsigned char *lines, size_t size,
                            unsigned char *out, size_t room, decnet_progress *done);

void decnet_lines_of_frames(const unsigned char *frames, size_t size, size_t longest,
                            unsigned char *out, size_t room, decnet_progress *done);

void decnet_records_of_lines(const unsigned char *lines, size_t size,
                             const decnet_members *members,
                             unsigned char *out, size_t room, decnet_progress *done);

#endif

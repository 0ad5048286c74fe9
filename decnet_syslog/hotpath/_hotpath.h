#ifndef DECNET_SYSLOG_HOTPATH_H
#define DECNET_SYSLOG_HOTPATH_H

/* Python refuses a module with another number: a function or a structure has changed. */
#define DECNET_HOTPATH_VERSION 2

typedef struct {
    size_t taken; /* octets of the input, in whole lines or frames */
    size_t made;  /* octets of the output */
    size_t lines; /* lines or frames in them */
} decnet_progress;

/* What the records of a block have in common, as octets of JSON. */
typedef struct {
    const unsigned char *before; /* from the end of raw_line to the offset */
    const unsigned char *after;  /* from the offset to the end */
    const unsigned char *marked; /* the same for a HOSTNAME that is another machine's */
    const unsigned char *worker; /* its name in lower case; NULL: no HOSTNAME is marked */
    size_t before_size, after_size, marked_size, worker_size;
    int has_offset; /* whether the block has an offset in a worker's file */
    unsigned long long offset;
} decnet_members;

void decnet_frames_of_lines(const unsigned char *lines, size_t size,
                            unsigned char *out, size_t room, decnet_progress *done);
void decnet_lines_of_frames(const unsigned char *frames, size_t size, size_t longest,
                            unsigned char *out, size_t room, decnet_progress *done);
void decnet_records_of_lines(const unsigned char *lines, size_t size,
                             const decnet_members *members,
                             unsigned char *out, size_t room, decnet_progress *done);

#endif

/*
 * The work that is done for every line: framing, unframing, rendering.
 *
 * What must be true of each function:
 *
 * - it reads nothing outside the size octets of its input, writes nothing outside the room
 *   octets of its output, allocates nothing, and keeps nothing from one call to the next;
 * - it stops in front of the first line or frame that it does not know, that is not complete
 *   or that has no room, and reports how far it came. The caller in Python goes on from there,
 *   one line or frame at a time, and may call again;
 * - for everything before that place the output is, octet for octet, what Python makes of it.
 *
 * So a function may know little, but what it takes it must take exactly as
 * decnet_syslog/wire/framing.py and record.py do. tests/test_hotpath.py compares them.
 */

#include <stddef.h>
#include <string.h>

#include "_hotpath.h"

typedef unsigned char octet;

/* Octets of somebody else's block. */
typedef struct {
    const octet *at;
    size_t size;
} span;

/* The digits of the largest number that is written, 2^64 - 1. */
#define DIGITS_MAX 20

static span constant(const char *text)
{
    return (span){(const octet *)text, strlen(text)};
}

static octet *put(octet *out, span text)
{
    memcpy(out, text.at, text.size);
    return out + text.size;
}

static octet *put_number(octet *out, unsigned long long number)
{
    octet digits[DIGITS_MAX];
    size_t at = DIGITS_MAX;

    do {
        digits[--at] = (octet)('0' + number % 10);
        number /= 10;
    } while (number);
    return put(out, (span){digits + at, DIGITS_MAX - at});
}

static int has(span text, octet c)
{
    return memchr(text.at, c, text.size) != NULL;
}

static int is_digit(octet c)
{
    return c >= '0' && c <= '9';
}

/*
 * Lines, each with its LF, to frames: MSG-LEN SP SYSLOG-MSG (RFC 5425 section 4.3). Stops in
 * front of an empty line, which no frame can carry.
 */
void decnet_frames_of_lines(const octet *lines, size_t size, octet *out, size_t room,
                            decnet_progress *done)
{
    size_t taken = 0, made = 0, count = 0;

    while (taken < size && room - made > DIGITS_MAX) {
        const octet *end = memchr(lines + taken, '\n', size - taken);
        span line = {lines + taken, end ? (size_t)(end - lines) - taken : 0};
        octet *to = out + made;

        if (line.size == 0 || line.size > room - made - (DIGITS_MAX + 1))
            break;
        to = put_number(to, line.size);
        *to++ = ' ';
        made = (size_t)(put(to, line) - out);
        taken += line.size + 1;
        count++;
    }
    *done = (decnet_progress){taken, made, count};
}

/* The message of a frame; 0 if it is none, not complete, or over the longest in octets. */
static int read_frame(span frame, size_t longest, span *text)
{
    size_t at = 0, number = 0;

    if (frame.size == 0 || *frame.at == '0')
        return 0;
    for (; at < frame.size && is_digit(frame.at[at]); at++) {
        size_t digit = (size_t)(frame.at[at] - '0');

        if (digit > longest || number > (longest - digit) / 10)
            return 0;
        number = number * 10 + digit;
    }
    if (at == 0 || at == frame.size || frame.at[at] != ' ' || frame.size - at - 1 < number)
        return 0;
    *text = (span){frame.at + at + 1, number};
    return 1;
}

/*
 * Frames to lines: every message, with an LF behind it.
 *
 * Stops in front of a control line, a frame that is empty, too long or not complete, a message
 * with an LF in it, and whatever is no frame. The output is never longer than the input.
 */
void decnet_lines_of_frames(const octet *frames, size_t size, size_t longest, octet *out,
                            size_t room, decnet_progress *done)
{
    size_t taken = 0, made = 0, count = 0;

    while (taken < size) {
        span text;

        if (!read_frame((span){frames + taken, size - taken}, longest, &text) ||
            room - made <= text.size || has(text, '\n'))
            break;
        *put(out + made, text) = '\n';
        made += text.size + 1;
        taken = (size_t)(text.at - frames) + text.size;
        count++;
    }
    *done = (decnet_progress){taken, made, count};
}

/*
 * Records.
 *
 * A line of the common shape is printable ASCII without a backslash:
 *
 *     <134>1 2026-04-18T00:00:00.123456+00:00 decky service procid event
 *     [relay@55555 src_ip="203.0.113.7" name="value"] text
 *
 * with a time that exists, an event that is not "-", parameters that have different names, and
 * one of them the attacker's address. Its values and its text need no escape but for the
 * quotes in the text.
 */

/* More than any service writes; as PARAMS_MAX of record.py. */
#define PARAMS_MAX 32

/* A record has at most 512 octets beside its line's, and each of those at most 8 times. */
#define RECORD_OWN_MAX 512
#define RECORD_TIMES_MAX 8

static const char *const address_names[] = {
    "src_ip", "src", "client_ip", "remote_ip", "remote_addr", "target_ip", "ip",
};

typedef struct {
    span name, value;
} param;

typedef struct {
    span date, time, decky, service, event, text, attacker, port;
    param params[PARAMS_MAX];
    size_t count;
} message;

static int equals(span one, span other)
{
    return one.size == other.size && memcmp(one.at, other.at, one.size) == 0;
}

/* Move behind the first octets of a text. */
static span skip(span *text, size_t size)
{
    span skipped = {text->at, size};

    text->at += size;
    text->size -= size;
    return skipped;
}

/* Move behind what the text must begin with. */
static int accept(span *text, const char *beginning)
{
    span wanted = constant(beginning);

    if (text->size < wanted.size || memcmp(text->at, wanted.at, wanted.size) != 0)
        return 0;
    skip(text, wanted.size);
    return 1;
}

/* Whether octets need no escape in JSON, quotes aside. Without a branch: it is vectorized. */
static int is_plain(span text)
{
    unsigned strange = 0;

    for (size_t i = 0; i < text.size; i++)
        strange |= (text.at[i] < 0x20) | (text.at[i] > 0x7e) | (text.at[i] == '\\');
    return !strange;
}

/* Two digits as a number; 100, which is too much everywhere, if they are none. */
static unsigned two_digits(const octet *at)
{
    if (!is_digit(at[0]) || !is_digit(at[1]))
        return 100;
    return (unsigned)(at[0] - '0') * 10 + (unsigned)(at[1] - '0');
}

/* Whether YYYY-MM-DD is a day: there is no year 0. */
static int is_date(const octet *at)
{
    static const octet days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned century = two_digits(at), year = two_digits(at + 2);
    unsigned month = two_digits(at + 5), day = two_digits(at + 8);
    unsigned leap = year % 4 == 0 && (year != 0 || century % 4 == 0);

    if (at[4] != '-' || at[7] != '-' || century > 99 || year > 99 || century + year == 0)
        return 0;
    return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1] + (month == 2) * leap;
}

static int is_time(const octet *at)
{
    return at[2] == ':' && at[5] == ':' && two_digits(at) < 24 && two_digits(at + 3) < 60 &&
           two_digits(at + 6) < 60;
}

/* Move behind digits. */
static span read_digits(span *line, size_t most)
{
    size_t size = 0;

    while (size < line->size && size < most && is_digit(line->at[size]))
        size++;
    return skip(line, size);
}

/* PRI, VERSION and TIMESTAMP. */
static int read_time(span *line, message *found)
{
    if (!accept(line, "<") || !read_digits(line, 3).size || !accept(line, ">1 ") ||
        line->size < sizeof "2026-04-18T00:00:00" || !is_date(line->at) ||
        line->at[10] != 'T' || !is_time(line->at + 11))
        return 0;
    found->date = skip(line, 10);
    skip(line, 1);
    found->time = skip(line, 8);
    if (accept(line, ".") && !read_digits(line, line->size).size)
        return 0;
    if (accept(line, "Z"))
        return 1;
    if (line->size < sizeof "+00:00" - 1 || (*line->at != '+' && *line->at != '-') ||
        line->at[3] != ':' || two_digits(line->at + 1) > 23 || two_digits(line->at + 4) > 59)
        return 0;
    skip(line, 6);
    return 1;
}

/* A space, and a word of the header behind it: anything but spaces and quotes. */
static int read_word(span *line, span *word)
{
    size_t size = 0;

    if (!accept(line, " "))
        return 0;
    while (size < line->size && line->at[size] != ' ' && line->at[size] != '"')
        size++;
    *word = skip(line, size);
    return size > 0;
}

static int is_name(octet c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '.' || c == '-';
}

static const param *find_param(const message *found, span name)
{
    for (size_t i = 0; i < found->count; i++)
        if (equals(found->params[i].name, name))
            return &found->params[i];
    return NULL;
}

/* A space, a name that no parameter before it has, and its value. */
static int read_param(span *line, message *found)
{
    param *next = &found->params[found->count];
    const octet *quote;
    size_t size = 0;

    if (found->count == PARAMS_MAX || !accept(line, " "))
        return 0;
    while (size < line->size && is_name(line->at[size]))
        size++;
    next->name = skip(line, size);
    if (size == 0 || find_param(found, next->name) || !accept(line, "=\""))
        return 0;
    quote = memchr(line->at, '"', line->size);
    if (!quote)
        return 0;
    next->value = skip(line, (size_t)(quote - line->at));
    skip(line, 1);
    found->count++;
    return 1;
}

/* The attacker's address and its port: IPv6 is left to splitAddress of addresses.py. */
static int read_attacker(message *found)
{
    const param *address = NULL;
    const octet *colon;
    span port;

    for (size_t i = 0; !address && i < sizeof address_names / sizeof *address_names; i++)
        address = find_param(found, constant(address_names[i]));
    if (!address || has(address->value, '[') || has(address->value, ']'))
        return 0;
    found->attacker = port = address->value;
    found->port = (span){NULL, 0};
    colon = memchr(port.at, ':', port.size);
    if (colon) {
        skip(&port, (size_t)(colon - port.at) + 1);
        found->port = read_digits(&port, port.size);
        if (port.size > 0)
            return 0;
        if (found->port.size > 0 && colon != found->attacker.at)
            found->attacker.size = (size_t)(colon - found->attacker.at);
        if (colon == found->attacker.at || find_param(found, constant("remote_port")))
            found->port.size = 0;
    }
    return !equals(found->attacker, constant("Unknown"));
}

/* The parts of a line; 0 if it is not of the common shape. */
static int read_line(span line, message *found)
{
    span procid;

    found->count = 0;
    if (!is_plain(line) || !read_time(&line, found) || !read_word(&line, &found->decky) ||
        !read_word(&line, &found->service) || !read_word(&line, &procid) ||
        !read_word(&line, &found->event) || equals(found->event, constant("-")) ||
        !accept(&line, " [relay@55555"))
        return 0;
    do {
        if (!read_param(&line, found))
            return 0;
    } while (line.size > 0 && *line.at == ' ');
    if (!accept(&line, "]") || (line.size > 0 && *line.at != ' '))
        return 0;
    while (line.size > 0 && *line.at == ' ')
        skip(&line, 1);
    while (line.size > 0 && line.at[line.size - 1] == ' ')
        line.size--;
    found->text = line;
    return read_attacker(found);
}

/* The part of a name before its first dot. */
static span label(span name)
{
    const octet *dot = memchr(name.at, '.', name.size);

    return dot ? (span){name.at, (size_t)(dot - name.at)} : name;
}

/* Whether a HOSTNAME names another machine than the worker's certificate: hostname.py. */
static int contradicts(span said, span worker)
{
    if (equals(said, constant("-")))
        return 0;
    /* One of them has no domain: only the first labels are compared. */
    if (!has(said, '.') || !has(worker, '.')) {
        said = label(said);
        worker = label(worker);
    }
    if (said.size != worker.size)
        return 1;
    for (size_t i = 0; i < said.size; i++) {
        int upper = said.at[i] >= 'A' && said.at[i] <= 'Z';

        if (said.at[i] + upper * ('a' - 'A') != worker.at[i])
            return 1;
    }
    return 0;
}

/* A text, with a backslash before each quote. */
static octet *put_escaped(octet *out, span text)
{
    const octet *quote;

    while ((quote = memchr(text.at, '"', text.size)) != NULL) {
        out = put(out, skip(&text, (size_t)(quote - text.at)));
        out = put(out, constant("\\\""));
        skip(&text, 1);
    }
    return put(out, text);
}

/* What comes before a text, and the text. */
#define PUT(out, before, text) put(put((out), constant(before)), (text))

static octet *put_record(octet *out, const message *found, span line,
                         const decnet_members *members, unsigned long long offset)
{
    out = PUT(out, "{\"timestamp\": \"", found->date);
    out = PUT(out, " ", found->time);
    out = PUT(out, "\", \"decky\": \"", found->decky);
    out = PUT(out, "\", \"service\": \"", found->service);
    out = PUT(out, "\", \"event_type\": \"", found->event);
    out = PUT(out, "\", \"attacker_ip\": \"", found->attacker);
    out = PUT(out, "\", \"fields\": {\"", found->params[0].name);
    out = PUT(out, "\": \"", found->params[0].value);
    for (size_t i = 1; i < found->count; i++) {
        out = PUT(out, "\", \"", found->params[i].name);
        out = PUT(out, "\": \"", found->params[i].value);
    }
    if (found->port.size > 0)
        out = PUT(out, "\", \"remote_port\": \"", found->port);
    out = put(out, constant("\"}, \"msg\": \""));
    out = put_escaped(out, found->text);
    out = put(out, constant("\", \"raw_line\": \""));
    out = put_escaped(out, line);
    out = put(out, (span){members->before, members->before_size});
    out = members->has_offset ? put_number(out, offset) : put(out, constant("null"));
    if (members->worker &&
        contradicts(found->decky, (span){members->worker, members->worker_size}))
        return put(out, (span){members->marked, members->marked_size});
    return put(out, (span){members->after, members->after_size});
}

/* Lines to records, a line of JSON each. Stops in front of a line of another shape. */
void decnet_records_of_lines(const octet *lines, size_t size, const decnet_members *members,
                             octet *out, size_t room, decnet_progress *done)
{
    size_t own = RECORD_OWN_MAX + members->before_size + members->after_size +
                 members->marked_size;
    size_t taken = 0, made = 0, count = 0;
    message found;

    while (taken < size && room - made >= own) {
        const octet *end = memchr(lines + taken, '\n', size - taken);
        span line = {lines + taken, end ? (size_t)(end - lines) - taken : 0};

        if (!end || line.size > (room - made - own) / RECORD_TIMES_MAX ||
            !read_line(line, &found))
            break;
        made = (size_t)(put_record(out + made, &found, line, members,
                                   members->offset + taken) - out);
        taken += line.size + 1;
        count++;
    }
    *done = (decnet_progress){taken, made, count};
}

/*
 * Both ends of a TCP relay's load, as cheap as the kernel lets them be: on a
 * machine whose cores they share with the relay, what they use it has not.
 *
 *     tcp_load serve   echo|sink
 *     tcp_load bulk    PORT CONNECTIONS SECONDS
 *     tcp_load echo    PORT CONNECTIONS BYTES WARM SECONDS
 *     tcp_load connect PORT AT_ONCE BYTES WARM SECONDS
 *     tcp_load idle    PORT COUNT...
 *
 * All on 127.0.0.1, with TCP_NODELAY. What they say goes to stderr, a line each:
 *
 * serve    `listening PORT`. `sink` takes what comes without looking at it, and
 *          says, at most every 20 ms and only of something new, `MS BYTES READS
 *          0`: the clock in milliseconds since 1970, and totals.
 * bulk     sends as fast as it is taken, ends each connection, waits for the
 *          other side's end, and says `sent BYTES`.
 * echo     has one message on its way on each connection. After WARM seconds
 *          `measuring`, SECONDS later `measured SECONDS MESSAGES P50 P99`, the
 *          last two in nanoseconds. What comes back has to be what was sent.
 * connect  connects, has a message echoed, closes, and again, AT_ONCE at a
 *          time. Says the same as echo, of connections.
 * idle     opens connections until there are COUNT, has a byte echoed on each,
 *          says `open COUNT SECONDS`, and waits for a line on stdin before the
 *          next COUNT or its end.
 *
 * What fails is said in a line, with status 1. None lives longer than
 * MOST_SECONDS.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  MOST_SECONDS = 120,
  MOST_CONNECTIONS = 100000,
  MOST_AT_ONCE = 256,
  MOST_MESSAGE = 1 << 20,
  MOST_FILES = 1 << 20,
  EVENTS = 512,
  SAMPLE_MS = 20,
  END_SECONDS = 10,
  ECHO_BYTES = 64 << 10,
  SINK_BYTES = 1 << 20,
  SEND_BYTES = 256 << 10, /* stays in a core's cache */
  STAMP_BYTES = 8,
  STACK_BYTES = 256 << 10,
};

static const int64_t SECOND = 1000000000;

static void fail(const char *format, ...) {
  va_list values;
  va_start(values, format);
  char line[256];
  vsnprintf(line, sizeof line, format, values);
  fprintf(stderr, "tcp_load: %s\n", line);
  _exit(1);
}

static int64_t clock_ns(clockid_t which) {
  struct timespec now;
  clock_gettime(which, &now);
  return now.tv_sec * SECOND + now.tv_nsec;
}

static int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static double number(const char *text, double least, double most) {
  char *end;
  double value = strtod(text, &end);
  if (*text == 0 || *end != 0 || !(value >= least && value <= most))
    fail("%s is not a number from %g to %g", text, least, most);
  return value;
}

/* ---- Sockets ---- */

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static void without_delay(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* A connection that blocks, but not for ever. */
static int connected(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) fail("socket: %s", strerror(errno));
  without_delay(fd);
  struct timeval most = {.tv_sec = END_SECONDS};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
  struct sockaddr_in to = loopback(port);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
    fail("connect to port %d: %s", port, strerror(errno));
  return fd;
}

static void watch(int epoll, int operation, int fd, uint32_t events,
                  uint32_t index) {
  struct epoll_event event = {.events = events, .data.u32 = index};
  if (epoll_ctl(epoll, operation, fd, &event) < 0)
    fail("epoll_ctl: %s", strerror(errno));
}

static int wait_events(int epoll, struct epoll_event *events, int most_ms) {
  int count = epoll_wait(epoll, events, EVENTS, most_ms);
  if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
  return count < 0 ? 0 : count;
}

/* ---- Latencies: counted in buckets less than 1 % wide ---- */

enum { STEPS = 128, BUCKETS = STEPS * 58 };

typedef struct {
  uint64_t total;
  uint64_t counts[BUCKETS];
} Latencies;

static void record(Latencies *latencies, int64_t ns) {
  uint64_t value = ns < 0 ? 0 : (uint64_t)ns;
  int shift = value < 2 * STEPS ? 0 : 56 - __builtin_clzll(value);
  latencies->counts[shift * STEPS + (value >> shift)]++;
  latencies->total++;
}

static uint64_t percentile(const Latencies *latencies, double share) {
  uint64_t left = (uint64_t)(share * (double)latencies->total);
  for (int i = 0; i < BUCKETS; i++) {
    if (latencies->counts[i] > left) {
      int shift = i < 2 * STEPS ? 0 : i / STEPS - 1;
      return (uint64_t)(i - shift * STEPS) << shift;
    }
    left -= latencies->counts[i];
  }
  return 0;
}

static void say_measured(const Latencies *latencies, int64_t ns) {
  fprintf(stderr, "measured %.6f %llu %llu %llu\n", (double)ns / SECOND,
          (unsigned long long)latencies->total,
          (unsigned long long)percentile(latencies, 0.5),
          (unsigned long long)percentile(latencies, 0.99));
}

/* ---- Messages ---- */

/*
 * A message begins and ends with its number and its connection's, so that one
 * that was cut, doubled, mixed up or given to somebody else is found out.
 */
static uint8_t message_byte(uint64_t stamp, size_t at, size_t size) {
  if (at < STAMP_BYTES) return (uint8_t)(stamp >> (8 * at));
  if (at + STAMP_BYTES >= size)
    return (uint8_t)(stamp >> (8 * (at + STAMP_BYTES - size)));
  return 'x';
}

static uint64_t stamp_of(uint64_t connection, uint64_t message) {
  return (message * 0x9E3779B97F4A7C15) ^ (connection << 40);
}

static size_t head_end(size_t size) {
  return size < STAMP_BYTES ? size : STAMP_BYTES;
}

static size_t tail_start(size_t size) {
  return size < 2 * STAMP_BYTES ? head_end(size) : size - STAMP_BYTES;
}

static void stamp_message(uint8_t *bytes, uint64_t stamp, size_t size) {
  for (size_t at = 0; at < head_end(size); at++)
    bytes[at] = message_byte(stamp, at, size);
  for (size_t at = tail_start(size); at < size; at++)
    bytes[at] = message_byte(stamp, at, size);
}

static void check_message(const uint8_t *bytes, size_t from, size_t to,
                          uint64_t stamp, size_t size) {
  size_t head = head_end(size) < to ? head_end(size) : to;
  size_t tail = tail_start(size) > from ? tail_start(size) : from;
  bool right = true;
  for (size_t at = from; at < head; at++)
    right &= bytes[at - from] == message_byte(stamp, at, size);
  for (size_t at = tail; at < to; at++)
    right &= bytes[at - from] == message_byte(stamp, at, size);
  if (!right) fail("other bytes came back than were sent");
}

/* ---- serve ---- */

/* What an echo could not send yet, by file. */
typedef struct {
  uint8_t bytes[ECHO_BYTES];
  size_t from, to;
} Pending;

static Pending *pending[MOST_FILES];
static uint64_t sunk_bytes, sunk_reads;

static void forget(int fd) {
  free(pending[fd]);
  pending[fd] = NULL;
  close(fd);
}

static void accept_all(int epoll, int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED)) return;
    if (fd < 0) fail("accept4: %s", strerror(errno));
    without_delay(fd);
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, (uint32_t)fd);
  }
}

static void echo_pending(int epoll, int fd) {
  Pending *rest = pending[fd];
  ssize_t sent =
      send(fd, rest->bytes + rest->from, rest->to - rest->from, MSG_NOSIGNAL);
  if (sent < 0 && errno == EAGAIN) return;
  if (sent < 0) return forget(fd);
  rest->from += (size_t)sent;
  if (rest->from < rest->to) return;
  free(rest);
  pending[fd] = NULL;
  watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN, (uint32_t)fd);
}

static void echo_read(int epoll, int fd) {
  static uint8_t bytes[ECHO_BYTES];
  ssize_t got = recv(fd, bytes, sizeof bytes, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) return forget(fd);
  ssize_t sent = send(fd, bytes, (size_t)got, MSG_NOSIGNAL);
  if (sent == got) return;
  if (sent < 0 && errno != EAGAIN) return forget(fd);
  Pending *rest = pending[fd] = malloc(sizeof *rest);
  if (!rest) fail("no memory");
  rest->from = 0;
  rest->to = (size_t)(got - (sent < 0 ? 0 : sent));
  memcpy(rest->bytes, bytes + got - rest->to, rest->to);
  watch(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT, (uint32_t)fd);
}

/* MSG_TRUNC has TCP throw away what it would copy (tcp(7)). */
static void sink_read(int fd) {
  static uint8_t bytes[SINK_BYTES];
  ssize_t got = recv(fd, bytes, sizeof bytes, MSG_TRUNC);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) return forget(fd);
  sunk_bytes += (uint64_t)got;
  sunk_reads++;
}

static void say_sunk(void) {
  static int64_t said_at;
  static uint64_t said;
  int64_t now = now_ns();
  if (sunk_bytes == said || now - said_at < SAMPLE_MS * SECOND / 1000) return;
  said = sunk_bytes;
  said_at = now;
  fprintf(stderr, "%.3f %llu %llu 0\n", (double)clock_ns(CLOCK_REALTIME) / 1e6,
          (unsigned long long)sunk_bytes, (unsigned long long)sunk_reads);
}

static void serve(bool echo) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = loopback(0);
  socklen_t length = sizeof address;
  if (listener < 0 ||
      bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
      listen(listener, 65535) < 0 ||
      getsockname(listener, (struct sockaddr *)&address, &length) < 0)
    fail("listen: %s", strerror(errno));
  int epoll = epoll_create1(0);
  watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, (uint32_t)listener);
  fprintf(stderr, "listening %d\n", ntohs(address.sin_port));
  struct epoll_event events[EVENTS];
  for (;;) {
    int count = wait_events(epoll, events, echo ? -1 : SAMPLE_MS);
    for (int i = 0; i < count; i++) {
      int fd = (int)events[i].data.u32;
      if (fd == listener) accept_all(epoll, listener);
      else if (!echo) sink_read(fd);
      else if (pending[fd]) echo_pending(epoll, fd);
      else echo_read(epoll, fd);
    }
    if (!echo) say_sunk();
  }
}

/* ---- bulk ---- */

static void end_bulk(const int *fds, int connections) {
  for (int i = 0; i < connections; i++) {
    if (shutdown(fds[i], SHUT_WR) < 0) fail("shutdown: %s", strerror(errno));
  }
  for (int i = 0; i < connections; i++) {
    uint8_t byte;
    fcntl(fds[i], F_SETFL, 0);
    if (recv(fds[i], &byte, 1, 0) != 0)
      fail("a connection did not end after its sender had");
  }
}

static void bulk(int port, int connections, double seconds) {
  static uint8_t bytes[SEND_BYTES];
  memset(bytes, 'x', sizeof bytes);
  int *fds = calloc((size_t)connections, sizeof *fds);
  int epoll = epoll_create1(0);
  for (int i = 0; i < connections; i++) {
    fds[i] = connected(port);
    fcntl(fds[i], F_SETFL, O_NONBLOCK);
    watch(epoll, EPOLL_CTL_ADD, fds[i], EPOLLOUT, (uint32_t)i);
  }
  struct epoll_event events[EVENTS];
  uint64_t total = 0;
  int64_t end = now_ns() + (int64_t)(seconds * SECOND);
  while (now_ns() < end) {
    int count = wait_events(epoll, events, SAMPLE_MS);
    for (int i = 0; i < count; i++) {
      ssize_t sent =
          send(fds[events[i].data.u32], bytes, sizeof bytes, MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) fail("send: %s", strerror(errno));
      if (sent > 0) total += (uint64_t)sent;
    }
  }
  end_bulk(fds, connections);
  fprintf(stderr, "sent %llu\n", (unsigned long long)total);
}

/* ---- echo ---- */

typedef struct {
  int fd;
  uint64_t messages;
  size_t sent, received;
  int64_t started;
} Talk;

static uint8_t outgoing[MOST_MESSAGE], incoming[MOST_MESSAGE];

static void talk_send(Talk *talk, uint64_t connection, size_t size) {
  stamp_message(outgoing, stamp_of(connection, talk->messages), size);
  ssize_t sent =
      send(talk->fd, outgoing + talk->sent, size - talk->sent, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) fail("send: %s", strerror(errno));
  if (sent > 0) talk->sent += (size_t)sent;
}

/* Whether a message has come back whole. */
static bool talk_receive(Talk *talk, uint64_t connection, size_t size) {
  ssize_t got = recv(talk->fd, incoming, size - talk->received, 0);
  if (got < 0 && errno == EAGAIN) return false;
  if (got == 0) fail("a connection was ended");
  if (got < 0) fail("recv: %s", strerror(errno));
  size_t from = talk->received;
  talk->received += (size_t)got;
  check_message(incoming, from, talk->received,
                stamp_of(connection, talk->messages), size);
  return talk->received == size;
}

static void echo(int port, int connections, size_t size, double warm,
                 double seconds) {
  static Latencies latencies;
  Talk *talks = calloc((size_t)connections, sizeof *talks);
  memset(outgoing, 'x', size);
  int epoll = epoll_create1(0);
  for (int i = 0; i < connections; i++) {
    talks[i].fd = connected(port);
    fcntl(talks[i].fd, F_SETFL, O_NONBLOCK);
  }
  int64_t start = now_ns();
  for (int i = 0; i < connections; i++) {
    talks[i].started = start;
    talk_send(&talks[i], (uint64_t)i, size);
    watch(epoll, EPOLL_CTL_ADD, talks[i].fd, EPOLLIN | EPOLLOUT | EPOLLET,
          (uint32_t)i);
  }
  bool measuring = false;
  int64_t from = start + (int64_t)(warm * SECOND);
  int64_t to = from + (int64_t)(seconds * SECOND);
  struct epoll_event events[EVENTS];
  for (int64_t now = start; now < to; now = now_ns()) {
    if (!measuring && now >= from) {
      measuring = true;
      from = now;
      to = from + (int64_t)(seconds * SECOND);
      fprintf(stderr, "measuring\n");
    }
    int count = wait_events(epoll, events, SAMPLE_MS);
    for (int i = 0; i < count; i++) {
      uint64_t connection = events[i].data.u32;
      Talk *talk = &talks[connection];
      if (talk->sent < size) talk_send(talk, connection, size);
      /* A read takes all that has come; what comes later is another event. */
      if (!talk_receive(talk, connection, size)) continue;
      int64_t done = now_ns();
      if (measuring) record(&latencies, done - talk->started);
      talk->messages++;
      talk->sent = talk->received = 0;
      talk->started = done;
      talk_send(talk, connection, size);
    }
  }
  say_measured(&latencies, now_ns() - from);
}

/* ---- connect ---- */

typedef struct {
  int port;
  uint64_t index;
  size_t size;
  int64_t from, to;
  Latencies latencies;
} Connector;

static void exchange(int fd, uint64_t stamp, size_t size) {
  uint8_t bytes[ECHO_BYTES];
  memset(bytes, 'x', size);
  stamp_message(bytes, stamp, size);
  if (send(fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
    fail("send: %s", strerror(errno));
  for (size_t at = 0; at < size;) {
    ssize_t got = recv(fd, bytes, size - at, 0);
    if (got == 0) fail("a connection was ended");
    if (got < 0) fail("recv: %s", strerror(errno));
    check_message(bytes, at, at + (size_t)got, stamp, size);
    at += (size_t)got;
  }
}

static void *connect_again(void *argument) {
  Connector *self = argument;
  uint64_t message = 0;
  for (int64_t began = now_ns(); began < self->to;) {
    int fd = connected(self->port);
    exchange(fd, stamp_of(self->index, message++), self->size);
    close(fd);
    int64_t done = now_ns();
    if (done >= self->from && done < self->to)
      record(&self->latencies, done - began);
    began = done;
  }
  return NULL;
}

static void sleep_until(int64_t ns) {
  struct timespec then = {.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) == EINTR)
    continue;
}

static void connect_load(int port, int at_once, size_t size, double warm,
                         double seconds) {
  static Latencies all;
  pthread_t threads[MOST_AT_ONCE];
  Connector *connectors = calloc((size_t)at_once, sizeof *connectors);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  int64_t from = now_ns() + (int64_t)(warm * SECOND);
  int64_t to = from + (int64_t)(seconds * SECOND);
  for (int i = 0; i < at_once; i++) {
    Connector *one = &connectors[i];
    one->port = port;
    one->index = (uint64_t)i;
    one->size = size;
    one->from = from;
    one->to = to;
    if (pthread_create(&threads[i], &attributes, connect_again, one) != 0)
      fail("no thread");
  }
  sleep_until(from);
  fprintf(stderr, "measuring\n");
  for (int i = 0; i < at_once; i++) {
    pthread_join(threads[i], NULL);
    const Latencies *one = &connectors[i].latencies;
    all.total += one->total;
    for (int j = 0; j < BUCKETS; j++) all.counts[j] += one->counts[j];
  }
  say_measured(&all, to - from);
}

/* ---- idle ---- */

static void idle(int port, int steps, char **counts) {
  int open = 0;
  for (int i = 0; i < steps; i++) {
    int count = (int)number(counts[i], 0, MOST_CONNECTIONS);
    int64_t began = now_ns();
    for (; open < count; open++)
      exchange(connected(port), stamp_of((uint64_t)open, 0), 1);
    fprintf(stderr, "open %d %.6f\n", open,
            (double)(now_ns() - began) / SECOND);
    for (char byte = 0; byte != '\n';) {
      if (read(STDIN_FILENO, &byte, 1) != 1) return;
    }
  }
}

/* ---- Command line ---- */

static bool is(const char *word, int arguments, int wanted, char **argv) {
  return arguments == wanted && strcmp(argv[1], word) == 0;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  alarm(MOST_SECONDS);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max < MOST_FILES ? files.rlim_max : MOST_FILES;
  setrlimit(RLIMIT_NOFILE, &files);
  if (is("serve", argc, 3, argv)) serve(strcmp(argv[2], "echo") == 0);
  int port = argc > 2 ? (int)number(argv[2], 1, 65535) : 0;
  if (is("bulk", argc, 5, argv)) {
    bulk(port, (int)number(argv[3], 1, MOST_CONNECTIONS),
         number(argv[4], 0, MOST_SECONDS));
  } else if (is("echo", argc, 7, argv)) {
    echo(port, (int)number(argv[3], 1, MOST_CONNECTIONS),
         (size_t)number(argv[4], 1, MOST_MESSAGE),
         number(argv[5], 0, MOST_SECONDS), number(argv[6], 0, MOST_SECONDS));
  } else if (is("connect", argc, 7, argv)) {
    connect_load(port, (int)number(argv[3], 1, MOST_AT_ONCE),
                 (size_t)number(argv[4], 1, ECHO_BYTES),
                 number(argv[5], 0, MOST_SECONDS),
                 number(argv[6], 0, MOST_SECONDS));
  } else if (argc > 3 && strcmp(argv[1], "idle") == 0) {
    idle(port, argc - 3, argv + 3);
  } else {
    fail("no such mode, or not its arguments: see the top of tcp_load.c");
  }
  return 0;
}

/* Name resolution that misbehaves, for one process: loaded before the C library (LD_PRELOAD), it answers
   for the host `redis.test` what the file named by $NAMES says: an address, perhaps after a number of
   milliseconds ("3000 127.0.0.1"), or "none". All other names are left to the system. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int look_up(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    look_up *system_look_up = (look_up *)dlsym(RTLD_NEXT, "getaddrinfo");
    char line[64] = "";
    unsigned delay_ms = 0;
    char address[48] = "";
    if (node == NULL || strcmp(node, "redis.test") != 0)
        return system_look_up(node, service, hints, found);
    FILE *names = fopen(getenv("NAMES"), "r");
    if (names == NULL)
        return EAI_SYSTEM;
    if (fgets(line, sizeof line, names) == NULL)
        line[0] = 0;
    fclose(names);
    if (strchr(line, ' ') != NULL)
        sscanf(line, "%u %47[0-9.]", &delay_ms, address);
    else if (sscanf(line, "%47[0-9.]", address) != 1)
        return EAI_AGAIN;
    usleep(delay_ms * 1000);
    return system_look_up(address, service, hints, found);
}

/* Names with several addresses, for one process: loaded before the C library (LD_PRELOAD), it answers for the
   host `pods.test` with the addresses in the file that $ADDRESSES names, in their order, separated by
   spaces; without any, the name is unknown. All other names are left to the system. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int look_up(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    look_up *system_look_up = (look_up *)dlsym(RTLD_NEXT, "getaddrinfo");
    char line[256] = "", *rest = line, *address;
    struct addrinfo **end = found;
    FILE *file;
    if (node == NULL || strcmp(node, "pods.test") != 0)
        return system_look_up(node, service, hints, found);
    *found = NULL;
    file = fopen(getenv("ADDRESSES"), "r");
    if (file == NULL)
        return EAI_SYSTEM;
    if (fgets(line, sizeof line, file) == NULL)
        line[0] = 0;
    fclose(file);
    while ((address = strsep(&rest, " \n")) != NULL) {
        if (*address == 0 || system_look_up(address, service, hints, end) != 0)
            continue;
        while (*end != NULL)
            end = &(*end)->ai_next;
    }
    return *found == NULL ? EAI_NONAME : 0;
}

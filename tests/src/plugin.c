/* Counts how often each instruction of a guest runs, and writes "address count" lines when the machine ends.
 *
 * A plugin of QEMU's translator, loaded with -plugin FILE,out=PATH. The declarations are the few that it needs of
 * qemu-plugin.h, which not every system packages. For one guest CPU: the counters are not atomic. */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *),
                                            enum qemu_plugin_cb_flags, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

#define EXPORT __attribute__((visibility("default")))

/* INTERFACE is the version of the interface that the QEMU at hand takes. */
EXPORT int qemu_plugin_version = INTERFACE;

struct counter {
    uint64_t address, count;
    struct counter *next;
};

#define BUCKETS (1u << 20)
static struct counter *buckets[BUCKETS];
static char path[4096];

/* The counter of an address; it stays where it is. */
static struct counter *counter(uint64_t address)
{
    struct counter **place = &buckets[(address * 0x9E3779B97F4A7C15u) >> 44];
    for (; *place; place = &(*place)->next)
        if ((*place)->address == address)
            return *place;
    *place = calloc(1, sizeof **place);
    if (!*place)
        abort();
    (*place)->address = address;
    return *place;
}

static void ran(unsigned cpu, void *counter)
{
    (void)cpu;
    ((struct counter *)counter)->count++;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        qemu_plugin_register_vcpu_insn_exec_cb(insn, ran, QEMU_PLUGIN_CB_NO_REGS,
                                               counter(qemu_plugin_insn_vaddr(insn)));
    }
}

static void finish(qemu_plugin_id_t id, void *data)
{
    (void)id, (void)data;
    FILE *file = fopen(path, "w");
    if (!file)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct counter *c = buckets[i]; c; c = c->next)
            if (c->count)
                fprintf(file, "%" PRIx64 " %" PRIu64 "\n", c->address, c->count);
    fclose(file);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            snprintf(path, sizeof path, "%s", argv[i] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}

/* Stand-in for Huawei's libdcmi.so: what GPUStack 2 asks of it (gpustack-runtime 0.2.1 and 0.2.6, whose pydcmi gives the
 * types), answered from the files that npu-sim prepares. They are read anew at every call, so a running worker sees a
 * change. As for npu-smi, a container has the NPUs whose nodes it may open; logic IDs begin at 0 there.
 * POSIX.1-2008 and C11 alone, so that it loads where the C library is older than the one that it was built with.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ANSWERS "/usr/local/dcmi/.npu-sim/current/"
#define MAX_NPUS 64
#define MANAGERS 3

enum { OK = 0, PARAMETER = -8001, INNER = -8005, NO_DEVICE = -8008, NOT_SUPPORTED = -8255 };

struct chip_info { char type[32], name[32], version[32]; unsigned int aicore_count; };
struct chip_info_v2 { struct chip_info chip; char npu_name[32]; };
struct pcie_info { unsigned int vendor, subvendor, device, subdevice; int domain; unsigned int bus, dev, function; char reserve[32]; };
struct hbm_info { unsigned long long size; unsigned int frequency; unsigned long long used; int temperature; unsigned int bandwidth; };
struct ip_address { unsigned char address[16]; unsigned int type; };
struct ecc_info { int enabled; unsigned int counts[8]; };

/* --- reading the answers --- */

/* A prefix is for trees that are not running, as npu-sim has it. */
static void path_of(char *path, size_t size, const char *folder, const char *name) {
    const char *root = getenv("NPU_SIM_ROOT");
    snprintf(path, size, "%s%s%s", root ? root : "", folder, name);
}

static FILE *open_answer(const char *name) {
    char path[1024];
    path_of(path, sizeof path, ANSWERS, name);
    return fopen(path, "r");
}

/* The value of KEY in a file of lines KEY='VALUE' or "KEY   : VALUE". Whether there is one. */
static int value_in(const char *name, const char *key, char separator, char *value, size_t size) {
    char line[512];
    int found = 0;
    FILE *in = open_answer(name);
    *value = 0;
    while (in && !found && fgets(line, sizeof line, in)) {
        char *text = line + strspn(line, " \t");
        if (strncmp(text, key, strlen(key))) continue;
        text += strlen(key);
        text += strspn(text, " \t");
        if (*text++ != separator) continue;
        text += strspn(text, " \t'");
        text[strcspn(text, separator == '=' ? "'\n" : "\n")] = 0;
        snprintf(value, size, "%s", text);
        found = 1;
    }
    if (in) fclose(in);
    return found;
}

static int state(const char *key, char *value, size_t size) { return value_in("state.sh", key, '=', value, size); }

static int of_chip(const char *type, int npu, const char *key, char *value, size_t size) {
    char name[64];
    snprintf(name, sizeof name, "type.%s.%d.0", type, npu);
    return value_in(name, key, ':', value, size);
}

static double number(const char *type, int npu, const char *key) {
    char value[64];
    return of_chip(type, npu, key, value, sizeof value) ? strtod(value, NULL) : -1;
}

static int there(const char *folder, const char *name, int mode) {
    char path[1024];
    path_of(path, sizeof path, folder, name);
    return access(path, mode) == 0;
}

static void wait_for(double seconds) {
    struct timespec pause = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&pause, NULL);
}

/* What a broken or hanging driver does. A call that hangs goes on when the driver does. */
static int fault(void) {
    char value[64];
    while (state("hang", value, sizeof value) && *value) wait_for(0.2);
    if (!state("reply", value, sizeof value) || !strcmp(value, "libs")) return INNER;
    return *value && strcmp(value, "garbage") ? -atoi(value) : OK;
}

/* The NPUs to be seen here, in the order of their logic IDs. Their number, or an error. */
static int visible(int *npus) {
    static const char *managers[MANAGERS] = {"davinci_manager", "devmm_svm", "hisi_hdc"};
    char list[256], name[32], *rest = list, *end;
    int count = 0, error = fault(), host = there("/etc/npu-sim/", "state.json", F_OK);
    if (error) return error;
    for (int i = 0; !host && i < MANAGERS; i++)
        if (!there("/dev/", managers[i], R_OK)) return INNER;
    if (!state("npus", list, sizeof list)) return INNER;
    for (long npu = strtol(rest, &end, 10); end != rest && count < MAX_NPUS; npu = strtol(rest, &end, 10)) {
        snprintf(name, sizeof name, "davinci%ld", npu);
        if (host || there("/dev/", name, R_OK)) npus[count++] = (int)npu;
        rest = end;
    }
    return count;
}

/* The logic ID of a card's only device, or an error. */
static int logic_of(int card, int device) {
    int npus[MAX_NPUS], count = visible(npus);
    if (count < 0) return count;
    for (int i = 0; i < count; i++)
        if (npus[i] == card) return device == 0 ? i : PARAMETER;
    return NO_DEVICE;
}

#define KNOWN(card, device) do { int logic_id = logic_of(card, device); if (logic_id < 0) return logic_id; } while (0)

/* npu-smi is one process for each question, this a library for many: what is slow is its start and each look around. */
static void be_slow(void) {
    char value[64];
    if (state("slow", value, sizeof value)) wait_for(strtod(value, NULL));
}

/* --- what is called --- */

int dcmi_init(void) {
    int npus[MAX_NPUS], count;
    be_slow();
    count = visible(npus);
    return count < 0 ? count : OK;
}

int dcmi_get_driver_version(char *version, unsigned int size) {
    char value[64];
    int error = fault();
    if (error) return error;
    if (!state("tool_version", value, sizeof value)) return INNER;
    snprintf(version, size, "%s", value);
    return OK;
}

int dcmi_get_card_list(int *count, int *cards, int size) {
    int npus[MAX_NPUS], found;
    be_slow();
    found = visible(npus);
    if (found < 0) return found;
    *count = found < size ? found : size;
    memcpy(cards, npus, (size_t)*count * sizeof *cards);
    return OK;
}

int dcmi_get_device_num_in_card(int card, int *count) {
    KNOWN(card, 0);
    *count = 1;
    return OK;
}

int dcmi_get_device_type(int card, int device, unsigned int *type) {
    KNOWN(card, device);
    *type = 0;
    return OK;
}

int dcmi_get_device_chip_info(int card, int device, struct chip_info *chip) {
    KNOWN(card, device);
    snprintf(chip->type, sizeof chip->type, "Ascend");
    snprintf(chip->version, sizeof chip->version, "V1");
    chip->aicore_count = (unsigned int)number("common", card, "Aicore Count");
    return state("chip_name", chip->name, sizeof chip->name) ? OK : INNER;
}

int dcmi_get_device_chip_info_v2(int card, int device, struct chip_info_v2 *chip) {
    int error = dcmi_get_device_chip_info(card, device, &chip->chip);
    if (!error) memcpy(chip->npu_name, chip->chip.name, sizeof chip->npu_name);
    return error;
}

/* In MB. How much of it is used only the table says: "| 0   | 0000:C1:00.0  | 0     0 / 0      2871 / 32768      |" */
static unsigned long long used_memory(int npu) {
    char name[64], line[256];
    unsigned long long used = 0;
    snprintf(name, sizeof name, "table.npu.%d", npu);
    FILE *in = open_answer(name);
    while (in && fgets(line, sizeof line, in)) {
        char *end = strrchr(line, '/');
        if (!end || !strstr(line, "0000:")) continue;
        while (end > line && end[-1] == ' ') end--;
        while (end > line && end[-1] >= '0' && end[-1] <= '9') end--;
        used = strtoull(end, NULL, 10);
    }
    if (in) fclose(in);
    return used;
}

int dcmi_get_device_hbm_info(int card, int device, struct hbm_info *hbm) {
    KNOWN(card, device);
    memset(hbm, 0, sizeof *hbm);
    hbm->size = (unsigned long long)number("memory", card, "HBM Capacity(MB)");
    hbm->frequency = (unsigned int)number("memory", card, "HBM Clock Speed(MHz)");
    hbm->temperature = (int)number("memory", card, "HBM Temperature(C)");
    hbm->used = used_memory(card);
    return OK;
}

int dcmi_get_device_logic_id(int *logic, int card, int device) {
    KNOWN(card, device);
    *logic = logic_of(card, device);
    return OK;
}

int dcmi_get_device_phyid_from_logicid(unsigned int logic, unsigned int *physical) {
    int npus[MAX_NPUS], count = visible(npus);
    if (count < 0) return count;
    if (logic >= (unsigned int)count) return NO_DEVICE;
    *physical = (unsigned int)npus[logic];
    return OK;
}

/* Type 0 is the NDie, 1 the VDie. */
int dcmi_get_device_die_v2(int card, int device, int type, unsigned int *die) {
    char value[128];
    KNOWN(card, device);
    if (!of_chip("board", card, type == 0 ? "NDie ID" : "VDie ID", value, sizeof value)) return NOT_SUPPORTED;
    return sscanf(value, "%x %x %x %x %x", die, die + 1, die + 2, die + 3, die + 4) == 5 ? OK : INNER;
}

int dcmi_get_device_pcie_info_v2(int card, int device, struct pcie_info *pcie) {
    char value[64];
    unsigned int domain;
    KNOWN(card, device);
    memset(pcie, 0, sizeof *pcie);
    if (!of_chip("board", card, "PCIe Bus Info", value, sizeof value)) return NOT_SUPPORTED;
    pcie->vendor = pcie->subvendor = 0x19E5;
    pcie->device = 0xD802;
    pcie->subdevice = 0x3002;
    if (sscanf(value, "%x:%x:%x.%x", &domain, &pcie->bus, &pcie->dev, &pcie->function) != 4) return INNER;
    pcie->domain = (int)domain;
    return OK;
}

int dcmi_get_affinity_cpu_info_by_device_id(int card, int device, char *cpus, int *length) {
    KNOWN(card, device);
    *length = snprintf(cpus, 32, "0-%ld", sysconf(_SC_NPROCESSORS_ONLN) - 1);
    return OK;
}

static int address_in(const char *kind, int npu, const char *key, struct ip_address *address) {
    char name[64], value[64];
    snprintf(name, sizeof name, "hccn-%s.%d", kind, npu);
    if (!value_in(name, key, ':', value, sizeof value)) return NOT_SUPPORTED;
    value[strcspn(value, ",")] = 0;
    memset(address, 0, sizeof *address);
    return inet_pton(AF_INET, value, address->address) == 1 ? OK : INNER;
}

/* Of the network port (type 1) there are addresses; of a virtual one (type 0) there are none. */
int dcmi_get_device_ip(int card, int device, int type, int port, struct ip_address *address, struct ip_address *mask) {
    (void)port;
    KNOWN(card, device);
    if (type != 1) return NOT_SUPPORTED;
    int error = address_in("ip", card, "ipaddr", address);
    return error ? error : address_in("ip", card, "netmask", mask);
}

int dcmi_get_device_gateway(int card, int device, int type, int port, struct ip_address *gateway) {
    (void)port;
    KNOWN(card, device);
    return type == 1 ? address_in("gateway", card, "default gateway", gateway) : NOT_SUPPORTED;
}

int dcmi_get_device_utilization_rate(int card, int device, int type, unsigned int *rate) {
    const char *key = type == 2 ? "Aicore Usage Rate(%)" : type == 3 ? "Aicpu Usage Rate(%)" : type == 6 ? "HBM Usage Rate(%)" : NULL;
    KNOWN(card, device);
    if (!key) return NOT_SUPPORTED;
    *rate = (unsigned int)number("usages", card, key);
    return OK;
}

int dcmi_get_device_temperature(int card, int device, int *celsius) {
    KNOWN(card, device);
    *celsius = (int)number("common", card, "Temperature(C)");
    return OK;
}

int dcmi_get_device_power_info(int card, int device, int *tenths_of_watt) {
    KNOWN(card, device);
    *tenths_of_watt = (int)(number("common", card, "NPU Real-time Power(W)") * 10 + 0.5);
    return OK;
}

int dcmi_get_device_health(int card, int device, unsigned int *health) {
    static const char *names[] = {"OK", "Warning", "Alarm", "Critical"};
    char value[32];
    KNOWN(card, device);
    *health = 0xFFFFFFFF;
    if (of_chip("health", card, "Health Status", value, sizeof value))
        for (unsigned int i = 0; i < sizeof names / sizeof *names; i++)
            if (!strcmp(value, names[i])) *health = i;
    return OK;
}

int dcmi_get_device_ecc_info(int card, int device, int type, struct ecc_info *ecc) {
    (void)type;
    KNOWN(card, device);
    memset(ecc, 0, sizeof *ecc);
    ecc->enabled = 1;
    return OK;
}

/* Those of one server are joined by HCCS. */
int dcmi_get_topo_info_by_device_id(int card, int device, int other_card, int other_device, int *topology) {
    KNOWN(card, device);
    KNOWN(other_card, other_device);
    *topology = card == other_card ? 0 : 3;
    return OK;
}

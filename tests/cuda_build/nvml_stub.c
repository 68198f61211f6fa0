/* A management library of NVIDIA's with one GPU, for the real nvidia-ml-py to load: structures, names
   and versions of functions are its own, and only the numbers are made up. */
#include <string.h>

typedef struct { unsigned int pid; unsigned long long used; unsigned int gi, ci; } process_t;
typedef struct { unsigned long long reference, violation; } violation_t;

int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned int flags) { return 0; }
const char *nvmlErrorString(int code) { return code == 6 ? "Not Found" : "Not Supported"; }

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    *device = (void *)0x1;
    return strcmp(uuid, "GPU-stub") ? 6 : 0;
}
int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    strncpy(version, "580.65", length);
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, process_t *found) {
    if (*count < 2) {
        *count = 2;
        return 7; /* too small a buffer: ask again */
    }
    found[0] = (process_t){STUB_PID, 5000, 0, 0};
    found[1] = (process_t){7, 9, 0, 0};
    *count = 2;
    return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj) { *mj = 12345; return 0; }
int nvmlDeviceGetPowerUsage(void *device, unsigned int *mw) { *mw = 250000; return 0; }
int nvmlDeviceGetPowerManagementLimit(void *device, unsigned int *mw) { *mw = 400000; return 0; }
int nvmlDeviceGetEccMode(void *device, unsigned int *now, unsigned int *next) { *now = *next = 1; return 0; }
int nvmlDeviceGetPersistenceMode(void *device, unsigned int *mode) { *mode = 1; return 0; }
int nvmlDeviceGetComputeMode(void *device, unsigned int *mode) { *mode = 3; return 0; }
int nvmlDeviceGetClockInfo(void *device, int clock, unsigned int *mhz) { *mhz = clock == 1 ? 1410 : 1593; return 0; }
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) { *celsius = 61; return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) { *reasons = 4; return 0; }
int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *reasons) { *reasons = 4; return 0; }
int nvmlDeviceGetViolationStatus(void *device, int policy, violation_t *status) {
    status->violation = policy == 0 ? 1500000000ull : 0;
    return policy == 4 ? 3 : 0; /* not supported */
}

// SPDX-License-Identifier: Apache-2.0
// The bytes of the simulated DDR, in a file that the host process maps as well, and the record files.
// Layout of the memory file: 4096 bytes of header {u64 base address}, then the memory.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "svdpi.h"

namespace {

constexpr size_t HEADER = 4096;
constexpr size_t PRIVATE_BYTES = 64u << 20;  // without a file

uint8_t* bytes = nullptr;
uint64_t base = 0;
uint64_t size = 0;
FILE* bursts = nullptr;
FILE* trace = nullptr;

struct BurstRecord {  // moevit.sim.verilator.records.BURST
    uint64_t cycle;
    uint64_t address;
    uint32_t beats;
    uint32_t write;
};

[[noreturn]] void fail(const char* what, const char* path) {
    fprintf(stderr, "memory: cannot %s '%s'\n", what, path);
    exit(2);
}

FILE* create(const char* path) {
    FILE* file = fopen(path, "wb");
    if (!file) fail("create", path);
    return file;
}

bool outside(uint64_t address, int count) {
    return address < base || address - base + static_cast<uint64_t>(count) > size;
}

}  // namespace

extern "C" {

void memory_open(const char* path) {
    if (bytes) return;  // by another port
    if (!*path) {
        size = PRIVATE_BYTES;
        bytes = static_cast<uint8_t*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (bytes == MAP_FAILED) fail("map", "anonymous memory");
        return;
    }
    int file = open(path, O_RDWR);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0 || static_cast<size_t>(status.st_size) <= HEADER) fail("open", path);
    auto* start = static_cast<uint8_t*>(
        mmap(nullptr, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    if (start == MAP_FAILED) fail("map", path);
    close(file);
    memcpy(&base, start, sizeof base);
    bytes = start + HEADER;
    size = status.st_size - HEADER;
}

svBit memory_read(uint64_t address, int count, svBitVecVal* data) {
    if (outside(address, count)) {
        memset(data, 0xA5, count);
        return 0;
    }
    memcpy(data, bytes + (address - base), count);
    return 1;
}

svBit memory_write(uint64_t address, int count, const svBitVecVal* data, const svBitVecVal* strobes) {
    if (outside(address, count)) return 0;
    uint8_t* to = bytes + (address - base);
    const auto* from = reinterpret_cast<const uint8_t*>(data);
    for (int i = 0; i < count; i++)
        if (strobes[i / 32] >> (i % 32) & 1) to[i] = from[i];
    return 1;
}

void log_open(const char* path) {
    if (!bursts) bursts = create(path);
}

void log_burst(uint64_t cycle, uint64_t address, int beats, svBit write) {
    if (!bursts) return;
    BurstRecord record{cycle, address, static_cast<uint32_t>(beats), write};
    fwrite(&record, sizeof record, 1, bursts);
}

void trace_open(const char* path) { trace = create(path); }

void trace_write(int count, const svBitVecVal* record) {
    if (trace) fwrite(record, count, 1, trace);
}

void records_flush() {
    if (bursts) fflush(bursts);
    if (trace) fflush(trace);
}

void records_clear() {
    for (FILE* file : {bursts, trace}) {
        if (!file) continue;
        fflush(file);
        if (ftruncate(fileno(file), 0) != 0) fail("empty", "record file");
        rewind(file);
    }
}

}  // extern "C"

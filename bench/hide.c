/* A processor's newer instruction sets, hidden from the programs that ask for them: what an older one would take.

       cc -O2 -shared -fPIC -o hide.so bench/hide.c
       HIDE=vnni LD_PRELOAD=$PWD/hide.so python bench/speed.py

   HIDE is amx, avx512 (AMX as well) or vnni (AVX-VNNI as well, which leaves AVX2). Libraries choose their kernels by the
   instruction CPUID; here it is made to fault, as Linux can on Intel's processors since Ivy Bridge (cpuid_fault in
   /proc/cpuinfo), and answered without those sets. The clock, the caches and the memory stay the newer one's. */

#define _GNU_SOURCE /* for the names of registers */
#include <asm/prctl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { AMX, AVX512, VNNI, LEVELS };
static const char *const NAMES[LEVELS] = {"amx", "avx512", "vnni"};
static int level;

#define BIT(n) (UINT32_C(1) << (n))

static void trap_cpuid(int on) {
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, !on)) {
        perror("hide: CPUID cannot be made to fault");
        _exit(2);
    }
}

/* Intel's manual, volume 2A, CPUID, leaf 7. */
static void hide(uint32_t part, uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx) {
    if (part == 0) {
        *edx &= ~(BIT(22) | BIT(24) | BIT(25));
        if (level >= AVX512) {
            *ebx &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
            *ecx &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
            *edx &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(23));
        }
    } else if (part == 1) {
        *eax &= ~BIT(21);
        *edx &= ~BIT(8);
        if (level >= AVX512) {
            *eax &= ~BIT(5);
            *edx &= ~BIT(19);
        }
        if (level >= VNNI) {
            *eax &= ~BIT(4);
            *edx &= ~(BIT(4) | BIT(10));
        }
    }
}

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    (void)info;
    if (code[0] != 0x0f || code[1] != 0xa2) { /* another fault: back there, and die of it */
        signal(number, SIG_DFL);
        return;
    }
    const uint32_t leaf = (uint32_t)registers[REG_RAX], part = (uint32_t)registers[REG_RCX];
    uint32_t eax = leaf, ebx, ecx = part, edx;
    trap_cpuid(0);
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    trap_cpuid(1);
    if (leaf == 7)
        hide(part, &eax, &ebx, &ecx, &edx);
    registers[REG_RAX] = eax;
    registers[REG_RBX] = ebx;
    registers[REG_RCX] = ecx;
    registers[REG_RDX] = edx;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void start(void) {
    const char *name = getenv("HIDE");
    for (level = 0; level < LEVELS && (!name || strcmp(name, NAMES[level])); level++)
        ;
    if (level == LEVELS) {
        fputs("hide: give HIDE=amx, avx512 or vnni\n", stderr);
        _exit(2);
    }
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    trap_cpuid(1);
}

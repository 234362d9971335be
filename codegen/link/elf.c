/* Sections that take memory are copied one behind the other into one mapping, relocated there, and made executable. Kernels have
 * no writable data. They call few functions of others (rt_sgemm, memset), which may be too far for a call: each such name gets
 * a stub of three words at the end of the mapping.
 *
 * Every offset of the file is checked before use, so a damaged object is refused. */
#include "codegen/link/elf.h"
#include "codegen/link/relocation.h"
#include "ir/arena.h"
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SECTION_ALIGN = 64, MAX_STUBS = 64 };

#if defined(__x86_64__)
static const Relocations *const host = &relocations_x86_64;
#elif defined(__aarch64__)
static const Relocations *const host = &relocations_aarch64;
#else
#error "no code is loaded on this architecture"
#endif

typedef struct Stub {
    const char *name;
    void *target;
} Stub;

typedef struct Loading {
    const CodeObject *object;
    uint32_t nobjects;
    void *(*resolve)(const char *name);
    size_t **place; /* of each section of each object: offset in the mapping; NOWHERE */
    Stub stub[MAX_STUBS];
    uint32_t nstubs;
    char *memory;
    size_t bytes, stubs_at;
    char *why;
    size_t why_size;
} Loading;

#define NOWHERE SIZE_MAX

static bool refuse(Loading *l, const char *what) {
    snprintf(l->why, l->why_size, "an object of compiled kernels %s", what);
    return false;
}

/* ---- reading ELF ---- */

static const Elf64_Ehdr *header_of(const CodeObject *o) { return o->data; }
static const Elf64_Shdr *sections_of(const CodeObject *o) {
    return (const Elf64_Shdr *)(const void *)((const char *)o->data + header_of(o)->e_shoff);
}

static bool sound(const CodeObject *o) {
    const Elf64_Ehdr *h = o->data;
    if (o->size < sizeof *h || memcmp(h->e_ident, ELFMAG, SELFMAG) || h->e_ident[EI_CLASS] != ELFCLASS64) return false;
    if (h->e_type != ET_REL || h->e_machine != host->machine || h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shoff % 8 ||
        h->e_shoff > o->size)
        return false;
    if ((o->size - h->e_shoff) / sizeof(Elf64_Shdr) < h->e_shnum) return false;
    for (uint32_t i = 0; i < h->e_shnum; i++) {
        const Elf64_Shdr *s = &sections_of(o)[i];
        if (s->sh_type == SHT_NOBITS || s->sh_type == SHT_NULL) continue;
        if (s->sh_offset > o->size || s->sh_size > o->size - s->sh_offset) return false;
        if (s->sh_type == SHT_STRTAB && s->sh_size && ((const char *)o->data)[s->sh_offset + s->sh_size - 1]) return false;
        bool entries = s->sh_type == SHT_SYMTAB || s->sh_type == SHT_RELA;
        if (entries && (s->sh_offset % 8 || s->sh_link >= h->e_shnum || s->sh_info > (1u << 30))) return false;
    }
    return true;
}

static const void *section_data(const CodeObject *o, const Elf64_Shdr *s) { return (const char *)o->data + s->sh_offset; }

typedef struct Symbols {
    const Elf64_Sym *symbol;
    size_t count;
    const char *names;
    size_t names_size;
} Symbols;

static Symbols symbols_of(const CodeObject *o, const Elf64_Shdr *table) {
    const Elf64_Shdr *strings = &sections_of(o)[table->sh_link];
    bool named = strings->sh_type == SHT_STRTAB && strings->sh_size;
    return (Symbols){section_data(o, table), table->sh_size / sizeof(Elf64_Sym), named ? section_data(o, strings) : "",
                     named ? strings->sh_size : 1};
}

static const char *symbol_name(const Symbols *s, const Elf64_Sym *symbol) {
    return symbol->st_name < s->names_size ? s->names + symbol->st_name : "";
}

/* ---- placing ---- */

static size_t align_up(size_t n, size_t alignment) { return (n + alignment - 1) / alignment * alignment; }

static bool place_sections(Loading *l) {
    for (uint32_t i = 0; i < l->nobjects; i++) {
        const CodeObject *o = &l->object[i];
        if (!sound(o)) return refuse(l, "is damaged");
        uint32_t count = header_of(o)->e_shnum;
        l->place[i] = malloc((count + 1u) * sizeof **l->place);
        if (!l->place[i]) out_of_memory("no room for kernels");
        for (uint32_t k = 0; k < count; k++) {
            const Elf64_Shdr *s = &sections_of(o)[k];
            l->place[i][k] = NOWHERE;
            if (!(s->sh_flags & SHF_ALLOC) || s->sh_type != SHT_PROGBITS) continue;
            if ((s->sh_flags & SHF_WRITE) || s->sh_addralign > SECTION_ALIGN) return refuse(l, "has a section of a strange kind");
            l->place[i][k] = l->bytes;
            l->bytes += align_up(s->sh_size, SECTION_ALIGN);
        }
    }
    l->stubs_at = l->bytes;
    l->bytes += (size_t)MAX_STUBS * STUB_BYTES;
    l->memory = mmap(NULL, l->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (l->memory == MAP_FAILED) l->memory = NULL;
    if (!l->memory) out_of_memory("no room for %zu bytes of kernels", l->bytes);
    for (uint32_t i = 0; i < l->nobjects; i++)
        for (uint32_t k = 0; k < header_of(&l->object[i])->e_shnum; k++) {
            const Elf64_Shdr *s = &sections_of(&l->object[i])[k];
            if (l->place[i][k] != NOWHERE) memcpy(l->memory + l->place[i][k], section_data(&l->object[i], s), s->sh_size);
        }
    return true;
}

/* ---- relocating ---- */

static char *stub_for(Loading *l, const char *name) {
    uint32_t i = 0;
    while (i < l->nstubs && strcmp(l->stub[i].name, name)) i++;
    char *at = l->memory + l->stubs_at + (size_t)i * STUB_BYTES;
    if (i < l->nstubs) return at;
    void *target = i < MAX_STUBS ? l->resolve(name) : NULL;
    if (!target) {
        snprintf(l->why, l->why_size, "compiled kernels call '%s', which is not there", name);
        return NULL;
    }
    l->stub[l->nstubs++] = (Stub){name, target};
    host->write_stub(at, target);
    return at;
}

static char *symbol_address(Loading *l, uint32_t object, const Symbols *s, size_t index) {
    if (index >= s->count) return NULL;
    const Elf64_Sym *symbol = &s->symbol[index];
    if (symbol->st_shndx == SHN_UNDEF) return stub_for(l, symbol_name(s, symbol));
    if (symbol->st_shndx >= header_of(&l->object[object])->e_shnum) return NULL;
    size_t place = l->place[object][symbol->st_shndx];
    if (place == NOWHERE || symbol->st_value > sections_of(&l->object[object])[symbol->st_shndx].sh_size) return NULL;
    return l->memory + place + symbol->st_value;
}

static bool relocate_section(Loading *l, uint32_t object, const Elf64_Shdr *table) {
    const CodeObject *o = &l->object[object];
    if (table->sh_info >= header_of(o)->e_shnum || l->place[object][table->sh_info] == NOWHERE) return true;
    if (table->sh_link >= header_of(o)->e_shnum || sections_of(o)[table->sh_link].sh_type != SHT_SYMTAB)
        return refuse(l, "is damaged");
    const Elf64_Rela *rela = section_data(o, table);
    Symbols symbols = symbols_of(o, &sections_of(o)[table->sh_link]);
    size_t size = sections_of(o)[table->sh_info].sh_size;
    for (size_t i = 0; i < table->sh_size / sizeof *rela; i++) {
        uint64_t offset = rela[i].r_offset;
        if (offset > size || size - offset < host->patched_bytes((uint32_t)ELF64_R_TYPE(rela[i].r_info)))
            return refuse(l, "is damaged");
        char *to = symbol_address(l, object, &symbols, ELF64_R_SYM(rela[i].r_info));
        if (!to) return *l->why ? false : refuse(l, "is damaged");
        char *at = l->memory + l->place[object][table->sh_info] + offset;
        if (!host->apply((uint32_t)ELF64_R_TYPE(rela[i].r_info), at, (uint64_t)(uintptr_t)to + (uint64_t)rela[i].r_addend))
            return refuse(l, "has a relocation of an unknown kind");
    }
    return true;
}

static bool relocate_all(Loading *l) {
    for (uint32_t i = 0; i < l->nobjects; i++)
        for (uint32_t k = 0; k < header_of(&l->object[i])->e_shnum; k++) {
            const Elf64_Shdr *s = &sections_of(&l->object[i])[k];
            if (s->sh_type == SHT_RELA && !relocate_section(l, i, s)) return false;
        }
    return true;
}

/* ---- the symbols wanted ---- */

static void find_in(Loading *l, uint32_t object, const Elf64_Shdr *table, const char *const *symbol, uint32_t nsymbols,
                    void **address) {
    Symbols s = symbols_of(&l->object[object], table);
    for (size_t k = 0; k < s.count; k++) {
        if (ELF64_ST_BIND(s.symbol[k].st_info) == STB_LOCAL || s.symbol[k].st_shndx == SHN_UNDEF) continue;
        for (uint32_t i = 0; i < nsymbols; i++)
            if (!address[i] && !strcmp(symbol[i], symbol_name(&s, &s.symbol[k]))) {
                address[i] = symbol_address(l, object, &s, k);
                break;
            }
    }
}

static bool find_symbols(Loading *l, const char *const *symbol, uint32_t nsymbols, void **address) {
    memset(address, 0, nsymbols * sizeof *address);
    for (uint32_t i = 0; i < l->nobjects; i++)
        for (uint32_t k = 0; k < header_of(&l->object[i])->e_shnum; k++)
            if (sections_of(&l->object[i])[k].sh_type == SHT_SYMTAB)
                find_in(l, i, &sections_of(&l->object[i])[k], symbol, nsymbols, address);
    for (uint32_t i = 0; i < nsymbols; i++)
        if (!address[i]) return refuse(l, "lacks its kernel");
    return true;
}

static bool make_executable(Loading *l) {
    if (mprotect(l->memory, l->bytes, PROT_READ | PROT_EXEC)) return refuse(l, "may not be made executable here");
    __builtin___clear_cache(l->memory, l->memory + l->bytes);
    return true;
}

bool code_load(const CodeObject *object, uint32_t nobjects, const CodeSymbols *symbols, void **address, LoadedCode *code,
               char *why, size_t why_size) {
    Loading l = {.object = object, .nobjects = nobjects, .resolve = symbols->resolve, .why = why, .why_size = why_size};
    *code = (LoadedCode){0};
    *why = 0;
    l.place = calloc(nobjects + 1u, sizeof *l.place);
    if (!l.place) out_of_memory("no room for kernels");
    bool loaded = place_sections(&l) && relocate_all(&l) && find_symbols(&l, symbols->wanted, symbols->count, address) &&
                  make_executable(&l);
    for (uint32_t i = 0; l.place && i < nobjects; i++) free(l.place[i]);
    free(l.place);
    if (loaded)
        *code = (LoadedCode){l.memory, l.bytes};
    else if (l.memory)
        munmap(l.memory, l.bytes);
    return loaded;
}

void code_unload(LoadedCode *code) {
    if (code->memory) munmap(code->memory, code->bytes);
    *code = (LoadedCode){0};
}

#pragma once
// What a compiler asks of a C library, for a build without one: included once, by the file that everything else is
// linked to, and compiled so that a loop that copies does not become a call of itself.

#include <stddef.h>

inline void* operator new(size_t, void* place) noexcept { return place; }

extern "C" {
void* memcpy(void* target, const void* source, size_t size) {
  auto* to = static_cast<unsigned char*>(target);
  const auto* from = static_cast<const unsigned char*>(source);
  for (size_t at = 0; at < size; ++at) to[at] = from[at];
  return target;
}

void* memmove(void* target, const void* source, size_t size) {
  auto* to = static_cast<unsigned char*>(target);
  const auto* from = static_cast<const unsigned char*>(source);
  if (to < from) return memcpy(target, source, size);
  for (size_t at = size; at > 0; --at) to[at - 1] = from[at - 1];
  return target;
}

void* memset(void* target, int value, size_t size) {
  auto* to = static_cast<unsigned char*>(target);
  for (size_t at = 0; at < size; ++at) to[at] = static_cast<unsigned char>(value);
  return target;
}

int memcmp(const void* a, const void* b, size_t size) {
  const auto* left = static_cast<const unsigned char*>(a);
  const auto* right = static_cast<const unsigned char*>(b);
  for (size_t at = 0; at < size; ++at) {
    if (left[at] != right[at]) return left[at] - right[at];
  }
  return 0;
}

// A pure virtual function is never called: every class here is complete.
void __cxa_pure_virtual() { __builtin_trap(); }
}

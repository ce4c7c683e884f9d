#pragma once
// Text without a heap: spans, a bounded writer, numbers.

#include <stddef.h>
#include <stdint.h>

namespace muster {

/** Characters that somebody else owns; not ended by a zero. */
struct Text {
  const char* data = "";
  size_t size = 0;

  constexpr Text() = default;
  template <size_t Size>
  constexpr Text(const char (&literal)[Size]) : data(literal), size(Size - 1) {}
  constexpr Text(const char* data, size_t size) : data(data), size(size) {}

  constexpr bool isEmpty() const { return size == 0; }
  /** The part from `from` on, of at most `length` characters; empty where there is none. */
  Text part(size_t from, size_t length = SIZE_MAX) const;
  bool startsWith(Text prefix) const;
};

bool operator==(Text a, Text b);
inline bool operator!=(Text a, Text b) { return !(a == b); }

/** Writes into a buffer that it does not own; what does not fit is left out, and `isCut` says so. */
class Writer {
 public:
  Writer(char* buffer, size_t capacity) : buffer_(buffer), capacity_(capacity) {}

  Writer& text(Text text);
  Writer& number(uint64_t value);
  /** A number of `10^-decimals`: `fixed(-5, 1)` writes `-0.5`. Zeros at the end are left out, as JSON.stringify does.
   */
  Writer& fixed(int32_t value, uint8_t decimals);
  /** `"text"` with what JSON escapes escaped (RFC 8259, section 7); the text has to be UTF-8. */
  Writer& quoted(Text text);

  bool isCut() const { return isCut_; }
  Text written() const { return {buffer_, size_}; }

 private:
  char* buffer_;
  size_t capacity_;
  size_t size_ = 0;
  bool isCut_ = false;
};

/** A Writer with a buffer of its own. */
template <size_t Capacity>
class Buffer : public Writer {
 public:
  Buffer() : Writer(storage_, Capacity) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

 private:
  char storage_[Capacity];
};

/** Whether a text is a number as JSON spells it, however large (RFC 8259, section 6). */
bool isNumber(Text text);

/**
 * Reads a decimal number as JSON spells it in units of `10^-decimals`, rounded half away from
 * zero; false where it is no number or does not fit into 64 bits.
 */
bool readFixed(Text text, uint8_t decimals, int64_t& value);

/** FNV-1a, 64 bits: tells texts apart without keeping them (http://www.isthe.com/chongo/tech/comp/fnv/). */
uint64_t hashOf(Text text);

/** Whether a text can be a device id, and a room: `[A-Za-z0-9_-]{1,64}` (the contract with devices). */
bool isDeviceId(Text text);

}  // namespace muster

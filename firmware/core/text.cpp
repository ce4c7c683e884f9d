#include "text.hpp"

namespace muster {

namespace {

constexpr bool isDigit(char character) { return character >= '0' && character <= '9'; }

/** Where the digits and the exponent of a number are. */
struct Decimal {
  bool isNegative = false;
  Text whole;
  Text fraction;
  int32_t exponent = 0;
};

/** More than any exponent that leads to a number of 64 bits, and small enough to add to. */
constexpr int32_t kEndlessExponent = 100000;

Text digitsAt(Text text, size_t from) {
  size_t end = from;
  while (end < text.size && isDigit(text.data[end])) ++end;
  return text.part(from, end - from);
}

bool readDecimal(Text text, Decimal& decimal) {
  size_t at = 0;
  if (at < text.size && text.data[at] == '-') {
    decimal.isNegative = true;
    ++at;
  }
  decimal.whole = digitsAt(text, at);
  if (decimal.whole.isEmpty() || (decimal.whole.size > 1 && decimal.whole.data[0] == '0')) return false;
  at += decimal.whole.size;
  if (at < text.size && text.data[at] == '.') {
    decimal.fraction = digitsAt(text, at + 1);
    if (decimal.fraction.isEmpty()) return false;
    at += 1 + decimal.fraction.size;
  }
  if (at < text.size && (text.data[at] == 'e' || text.data[at] == 'E')) {
    ++at;
    const bool isSmall = at < text.size && text.data[at] == '-';
    if (at < text.size && (text.data[at] == '-' || text.data[at] == '+')) ++at;
    const Text digits = digitsAt(text, at);
    if (digits.isEmpty()) return false;
    for (size_t index = 0; index < digits.size; ++index) {
      decimal.exponent = decimal.exponent * 10 + (digits.data[index] - '0');
      if (decimal.exponent > kEndlessExponent) decimal.exponent = kEndlessExponent;
    }
    if (isSmall) decimal.exponent = -decimal.exponent;
    at += digits.size;
  }
  return at == text.size;
}

/** The digit `position` places right of the decimal point of `0.…`; zero outside of what is written. */
int digitOf(const Decimal& decimal, size_t position) {
  if (position < decimal.whole.size) return decimal.whole.data[position] - '0';
  position -= decimal.whole.size;
  return position < decimal.fraction.size ? decimal.fraction.data[position] - '0' : 0;
}

}  // namespace

Text Text::part(size_t from, size_t length) const {
  if (from >= size) return {};
  return {data + from, length < size - from ? length : size - from};
}

bool Text::startsWith(Text prefix) const { return part(0, prefix.size) == prefix; }

bool operator==(Text a, Text b) { return a.size == b.size && __builtin_memcmp(a.data, b.data, a.size) == 0; }

Writer& Writer::text(Text text) {
  const size_t room = capacity_ - size_;
  if (text.size > room) {
    isCut_ = true;
    text = text.part(0, room);
  }
  if (!text.isEmpty()) __builtin_memcpy(buffer_ + size_, text.data, text.size);
  size_ += text.size;
  return *this;
}

Writer& Writer::number(uint64_t value) {
  char digits[20];
  size_t at = sizeof digits;
  do {
    digits[--at] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  return text({digits + at, sizeof digits - at});
}

Writer& Writer::fixed(int32_t value, uint8_t decimals) {
  uint32_t magnitude = value < 0 ? 0u - static_cast<uint32_t>(value) : static_cast<uint32_t>(value);
  while (decimals > 0 && magnitude % 10 == 0) {
    magnitude /= 10;
    --decimals;
  }
  char fraction[10];
  uint8_t length = 0;
  for (; length < decimals && length < sizeof fraction; ++length) {
    fraction[sizeof fraction - 1 - length] = static_cast<char>('0' + magnitude % 10);
    magnitude /= 10;
  }
  if (value < 0) text("-");
  number(magnitude);
  return length == 0 ? *this : text(".").text({fraction + sizeof fraction - length, length});
}

Writer& Writer::quoted(Text value) {
  constexpr char kHex[] = "0123456789abcdef";
  text("\"");
  for (size_t at = 0; at < value.size; ++at) {
    const char character = value.data[at];
    const auto code = static_cast<uint8_t>(character);
    if (character == '"' || character == '\\') {
      text("\\").text({&character, 1});
    } else if (code < 0x20) {
      const char escape[] = {'\\', 'u', '0', '0', kHex[code >> 4], kHex[code & 15]};
      text({escape, sizeof escape});
    } else {
      text({&character, 1});
    }
  }
  return text("\"");
}

bool isNumber(Text text) {
  Decimal decimal;
  return readDecimal(text, decimal);
}

bool readFixed(Text text, uint8_t decimals, int64_t& value) {
  Decimal decimal;
  if (!readDecimal(text, decimal)) return false;
  // So many digits count, from the first one on; the next one decides how to round.
  const int64_t wanted = static_cast<int64_t>(decimal.whole.size) + decimal.exponent + decimals;
  uint64_t magnitude = 0;
  const size_t written = decimal.whole.size + decimal.fraction.size;
  for (int64_t position = 0; position < wanted; ++position) {
    const int digit = digitOf(decimal, static_cast<size_t>(position));
    if (magnitude == 0 && position >= static_cast<int64_t>(written)) break;
    if (magnitude > (static_cast<uint64_t>(INT64_MAX) - static_cast<uint64_t>(digit)) / 10) return false;
    magnitude = magnitude * 10 + static_cast<uint64_t>(digit);
  }
  if (wanted >= 0 && digitOf(decimal, static_cast<size_t>(wanted)) >= 5) {
    if (magnitude == static_cast<uint64_t>(INT64_MAX)) return false;
    ++magnitude;
  }
  value = decimal.isNegative ? -static_cast<int64_t>(magnitude) : static_cast<int64_t>(magnitude);
  return true;
}

uint64_t hashOf(Text text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t at = 0; at < text.size; ++at) {
    hash ^= static_cast<uint8_t>(text.data[at]);
    hash *= 0x100000001b3u;
  }
  return hash;
}

bool isDeviceId(Text text) {
  for (size_t at = 0; at < text.size; ++at) {
    const char c = text.data[at];
    const bool isAllowed = isDigit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '-';
    if (!isAllowed) return false;
  }
  return text.size >= 1 && text.size <= 64;
}

}  // namespace muster

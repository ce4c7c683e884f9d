#include "../../core/text.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace muster {
namespace {

std::string str(Text text) { return {text.data, text.size}; }
Text text(const std::string& string) { return {string.data(), string.size()}; }

TEST(Numbers, AreWrittenAsJavaScriptWritesThem) {
  struct Row {
    int32_t value;
    uint8_t decimals;
    const char* expected;
  };
  const Row rows[] = {{225, 1, "22.5"},
                      {220, 1, "22"},
                      {0, 1, "0"},
                      {-5, 1, "-0.5"},
                      {-400, 1, "-40"},
                      {391, 2, "3.91"},
                      {400, 2, "4"},
                      {5, 3, "0.005"},
                      {-4, 2, "-0.04"},
                      {7, 0, "7"},
                      {INT32_MAX, 0, "2147483647"},
                      {INT32_MIN, 0, "-2147483648"},
                      {INT32_MIN, 3, "-2147483.648"},
                      {INT32_MAX, 9, "2.147483647"},
                      {1, 9, "0.000000001"},
                      {100, 2, "1"}};
  for (const Row& row : rows) {
    Buffer<32> out;
    out.fixed(row.value, row.decimals);
    EXPECT_EQ(str(out.written()), row.expected);
  }
}

TEST(Numbers, Of64BitsAreWrittenWhole) {
  for (const uint64_t value : {uint64_t{0}, uint64_t{9}, uint64_t{10}, uint64_t{1698765432123}, UINT64_MAX}) {
    Buffer<32> out;
    out.number(value);
    EXPECT_EQ(str(out.written()), std::to_string(value));
  }
}

TEST(Numbers, AreReadInTheUnitThatIsAskedFor) {
  struct Row {
    const char* text;
    uint8_t decimals;
    bool isRead;
    int64_t expected;
  };
  const Row rows[] = {
      {"0.5", 1, true, 5},
      {"5e-1", 1, true, 5},
      {"5E+2", 0, true, 500},
      {"-0.05", 1, true, -1},
      {"0.04", 1, true, 0},
      {"0.05", 1, true, 1},
      {"22.449", 1, true, 224},
      {"1e999", 0, false, 0},
      {"1e-999", 0, true, 0},
      {"0e999", 0, true, 0},
      {"0.0e99999999", 3, true, 0},
      {"9223372036854775807", 0, true, INT64_MAX},
      {"9223372036854775808", 0, false, 0},
      {"922337203685477580.7", 1, true, INT64_MAX},
      {"9223372036854775807.5", 0, false, 0},
      {"1e18", 0, true, 1000000000000000000},
      {"1e19", 0, false, 0},
      {"0.000000000000000000001e21", 0, true, 1},
      {"", 0, false, 0},
      {"-", 0, false, 0},
      {"01", 0, false, 0},
      {"+1", 0, false, 0},
      {".5", 0, false, 0},
      {"1.", 0, false, 0},
      {"1e", 0, false, 0},
      {"1e+", 0, false, 0},
      {"0x10", 0, false, 0},
      {"1 ", 0, false, 0},
      {"NaN", 0, false, 0},
      {"1e99999999999999999999", 0, false, 0},
  };
  for (const Row& row : rows) {
    int64_t value = 0;
    const bool isRead = readFixed(text(row.text), row.decimals, value);
    EXPECT_EQ(isRead, row.isRead) << row.text;
    if (isRead && row.isRead) {
      EXPECT_EQ(value, row.expected) << row.text;
    }
  }
}

TEST(Numbers, ThatAreWrittenAreReadBack) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    const auto value = static_cast<int32_t>(random());
    const auto decimals = static_cast<uint8_t>(random() % 10);
    Buffer<32> out;
    out.fixed(value, decimals);
    int64_t read = 0;
    ASSERT_TRUE(readFixed(out.written(), decimals, read)) << str(out.written());
    ASSERT_EQ(read, value) << str(out.written());
  }
}

TEST(WrittenText, IsCutAtItsLimitAndSaysSo) {
  Buffer<4> out;
  out.text("abc");
  EXPECT_FALSE(out.isCut());
  out.text("def");
  EXPECT_TRUE(out.isCut());
  EXPECT_EQ(str(out.written()), "abcd");
  out.number(UINT64_MAX).quoted("x");
  EXPECT_EQ(str(out.written()), "abcd");
}

TEST(WrittenText, IsEscapedAsJsonWants) {
  Buffer<64> out;
  out.quoted(text(std::string("a\"b\\c\n\0d", 8)));
  EXPECT_EQ(str(out.written()), "\"a\\\"b\\\\c\\u000a\\u0000d\"");
}

TEST(ParsedText, HasNoPartBeyondItsEnd) {
  EXPECT_EQ(str(Text("abc").part(1)), "bc");
  EXPECT_EQ(str(Text("abc").part(1, 1)), "b");
  EXPECT_EQ(str(Text("abc").part(3)), "");
  EXPECT_EQ(str(Text("abc").part(SIZE_MAX, SIZE_MAX)), "");
}

}  // namespace
}  // namespace muster

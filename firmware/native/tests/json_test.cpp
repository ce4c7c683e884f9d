#include "../../core/json.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

namespace muster {
namespace {

std::string str(Text text) { return {text.data, text.size}; }
/** A copy of exactly its size: the sanitizer sees each byte that is read beyond it. */
struct Exact {
  explicit Exact(const std::string& string) : bytes(string.begin(), string.end()) {}
  Text text() const { return {bytes.data(), bytes.size()}; }
  std::vector<char> bytes;
};

TEST(JsonObjects, AreReadMemberByMember) {
  const Exact source(R"( {"a": 1.5, "b":"x\"\u00e4\ud83d\ude00", "c":[1,{"d":[]}], "e":{ } ,"f":true,"g":null} )");
  JsonObject object(source.text());
  ASSERT_TRUE(object.isValid());
  JsonField field;
  ASSERT_TRUE(object.next(field));
  int64_t number = 0;
  EXPECT_TRUE(field.isNamed("a") && field.readNumber(1, number));
  EXPECT_EQ(number, 15);
  ASSERT_TRUE(object.next(field));
  Buffer<32> string;
  EXPECT_TRUE(field.readString(string));
  EXPECT_EQ(str(string.written()), "x\"ä😀");
  ASSERT_TRUE(object.next(field));
  EXPECT_EQ(field.kind, JsonKind::array);
  EXPECT_EQ(str(field.raw), R"([1,{"d":[]}])");
  for (const JsonKind kind : {JsonKind::object, JsonKind::boolean, JsonKind::null}) {
    ASSERT_TRUE(object.next(field));
    EXPECT_EQ(field.kind, kind);
  }
  EXPECT_FALSE(object.next(field));
}

TEST(JsonObjects, AreFoundByTheirNameHoweverItIsWrittenAndTheLastOneCounts) {
  const Exact source(R"({"id":1,"\u0069d":2})");
  JsonField field;
  ASSERT_TRUE(JsonObject(source.text()).find("id", field));
  EXPECT_EQ(str(field.raw), "2");
  EXPECT_FALSE(JsonObject(source.text()).find("other", field));
}

TEST(JsonObjects, ThatAreNoneAreRefusedAsAWhole) {
  const char* rows[] = {"",
                        "[]",
                        "1",
                        "null",
                        "{",
                        "}",
                        "{\"a\"}",
                        "{\"a\":}",
                        "{\"a\":1,}",
                        "{,}",
                        "{\"a\":1}x",
                        "{\"a\":1}{}",
                        "{a:1}",
                        "{\"a\":01}",
                        "{\"a\":[}}",
                        "{\"a\":[1,]}",
                        "{\"a\":+1}",
                        "{\"a\":tru}",
                        "{\"a\":\"",
                        "{\"a\":\"\n\"}",
                        "{\"a\":\"\\x\"}",
                        "{\"a\":\"\\u12g4\"}",
                        "{\"a\" 1}",
                        "{\"a\":1 \"b\":2}",
                        "{\"a\":[1 2]}",
                        "{\"a\":{\"b\":1]}",
                        "{\"a\":-}",
                        "{\"a\":\"\\",
                        "{\"a\":\"\\u",
                        "{\"a\":NaN}"};
  for (const char* row : rows) {
    const Exact source(row);
    JsonObject object(source.text());
    JsonField field;
    EXPECT_FALSE(object.isValid()) << row;
    EXPECT_FALSE(object.next(field)) << row;
    EXPECT_FALSE(object.find("a", field)) << row;
  }
}

TEST(JsonObjects, AreBoundedInDepthAndSize) {
  const auto nested = [](size_t depth) { return "{\"a\":" + std::string(depth, '[') + std::string(depth, ']') + "}"; };
  EXPECT_TRUE(JsonObject(Exact(nested(kMaxJsonDepth - 1)).text()).isValid());
  EXPECT_FALSE(JsonObject(Exact(nested(kMaxJsonDepth)).text()).isValid());
  const auto sized = [](size_t size) { return "{\"a\":\"" + std::string(size - 8, 'x') + "\"}"; };
  EXPECT_TRUE(JsonObject(Exact(sized(kMaxJsonBytes)).text()).isValid());
  EXPECT_FALSE(JsonObject(Exact(sized(kMaxJsonBytes + 1)).text()).isValid());
}

TEST(JsonStrings, ThatCannotBeTakenAreNotReadInPart) {
  for (const char* row : {R"({"a":"\u0000"})", R"({"a":"\ud800"})", R"({"a":"\ud800x"})", R"({"a":"\ud800\u0041"})",
                          R"({"a":"\udc00"})", R"({"a":"longer than eight"})", R"({"a":5})"}) {
    const Exact source(row);
    JsonField field;
    ASSERT_TRUE(JsonObject(source.text()).find("a", field)) << row;
    Buffer<8> out;
    EXPECT_FALSE(field.readString(out)) << row;
  }
}

int depthOf(const nlohmann::json& value) {
  int deepest = 0;
  if (value.is_structured()) {
    for (const auto& member : value) deepest = std::max(deepest, depthOf(member));
    ++deepest;
  }
  return deepest;
}

/** Random damage to good documents; nlohmann::json says what is right. */
TEST(JsonFuzz, AcceptsWhatALibraryAcceptsAndNothingElse) {
  const std::string seeds[] = {
      R"({"id":"c-1","name":"sleep","args":{"seconds":300,"x":[1,2.5e3,-0,true,null]},"expires":1698765432123})",
      R"({"version":3,"settings":{"heartbeat":300,"temp_band":0.5,"outbox_drop":"oldest"}})",
      R"({"a":"\"\\\/\b\f\n\r\t\u0041\ud83d\ude00","b":[[[[]]],{"c":{"d":{}}}]})",
  };
  const std::string alphabet = "{}[]\",:\\u0123456789eE+-. \n\ttrufalsn/bA";
  std::mt19937 random(20260101);
  size_t accepted = 0;
  for (int round = 0; round < 60000; ++round) {
    std::string text = seeds[random() % 3];
    for (unsigned damage = random() % 4; damage > 0; --damage) {
      const size_t at = random() % text.size();
      const char character = alphabet[random() % alphabet.size()];
      switch (random() % 4) {
        case 0: text[at] = character; break;
        case 1: text.insert(at, 1, character); break;
        case 2: text.erase(at, 1 + random() % 3); break;
        default: text = text.substr(0, at) + text.substr(random() % text.size()); break;
      }
      if (text.empty()) text = "{";
    }
    const Exact source(text);
    JsonObject object(source.text());
    const bool isAccepted = object.isValid();
    // Lone surrogates are refused when the string is read, as the shape alone is checked first.
    const nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
    const bool isGood = value.is_object() && depthOf(value) <= kMaxJsonDepth;
    ASSERT_TRUE(isAccepted || !isGood) << text;
    const bool mayHaveSurrogates = text.find("\\u") != std::string::npos;
    // A library keeps no number that overflows a double; here it is told apart when it is read.
    const bool mayOverflow = text.find_first_of("eE") != std::string::npos;
    ASSERT_TRUE(isGood || !isAccepted || mayHaveSurrogates || mayOverflow) << text;
    accepted += isAccepted;
    size_t members = 0;
    for (JsonField field; object.next(field); ++members) {
      Buffer<16> out;
      int64_t number = 0;
      field.isNamed("id");
      field.readString(out);
      field.readNumber(3, number);
      ASSERT_LT(members, text.size());
    }
  }
  // Both sides have been tried.
  EXPECT_GT(accepted, 5000u);
  EXPECT_LT(accepted, 55000u);
}

TEST(JsonFuzz, SurvivesAnyBytes) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string text(random() % 64, '\0');
    for (char& character : text) character = static_cast<char>(random());
    const Exact source("{\"" + text + "\":" + text + "}");
    JsonObject object(source.text());
    for (JsonField field; object.next(field);) {
      Buffer<16> out;
      field.readString(out);
    }
  }
}

}  // namespace
}  // namespace muster

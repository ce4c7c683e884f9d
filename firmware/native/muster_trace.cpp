// muster-trace SCRIPT: plays a script of firmware/scripts and prints what the device sent.

#include <fstream>
#include <iostream>

#include "world.hpp"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: muster-trace SCRIPT\n";
    return 2;
  }
  std::ifstream file(argv[1]);
  if (!file) {
    std::cerr << "muster-trace: cannot read " << argv[1] << "\n";
    return 1;
  }
  try {
    muster::World world(nlohmann::json::parse(file));
    world.run();
    for (const std::string& line : world.trace()) std::cout << line << "\n";
  } catch (const std::exception& error) {
    std::cerr << "muster-trace: " << argv[1] << ": " << error.what() << "\n";
    return 1;
  }
  return 0;
}

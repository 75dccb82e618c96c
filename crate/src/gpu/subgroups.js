// wgpu does not know the browser's "subgroups" feature, so it is added here to what wgpu asks the next device for.
let lanes = 0;

// Adds the feature where the adapter is one in software whose subgroups have one number of lanes.
export function addSubgroups() {
  lanes = 0;
  const plain = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = function (descriptor = {}) {
    GPUAdapter.prototype.requestDevice = plain;
    const { subgroupMinSize, subgroupMaxSize, architecture, isFallbackAdapter } = this.info;
    const software = isFallbackAdapter || architecture === 'swiftshader';
    if (!software || !this.features.has('subgroups') || subgroupMinSize !== subgroupMaxSize) {
      return plain.call(this, descriptor);
    }
    lanes = subgroupMinSize;
    const requiredFeatures = [...(descriptor.requiredFeatures ?? []), 'subgroups'];
    return plain.call(this, { ...descriptor, requiredFeatures });
  };
}

// Lanes of the subgroups of the device that was asked for last; 0 where it has none to rely on.
export const subgroupLanes = () => lanes;
